// See output_order.h. The pump moves held bytes while there are some at the front; it ends where a
// request that still works is at the front, and starts again when that one ends.
#include "engine/output_order.h"

#include <utility>

#include "engine/request.h"

namespace moongate::engine {

class OutputOrder::Node {
public:
    struct Item {
        std::string bytes;
        std::shared_ptr<Node> child;  // null: bytes
    };

    Node(async::Reactor& reactor, Node* of) : parent(of), turn(reactor) {}

    Node* parent;
    std::deque<Item> items;
    std::size_t held = 0;
    bool flush = false;  // of what is held
    bool ended = false;
    bool cut = false;   // what it writes is dropped
    async::Event turn;  // set when something changed for who waits to write
};

namespace {

Status cut_off() {
    return Error{ErrorKind::Closed, ErrorSide::Client, false, 0, "the response was cut off"};
}

}  // namespace

OutputOrder::OutputOrder(Request& root)
    : request_(root), root_(std::make_unique<Node>(root.reactor(), nullptr)) {}

OutputOrder::~OutputOrder() = default;

std::shared_ptr<OutputOrder::Node> OutputOrder::add(Node& parent) {
    Node::Item& item = parent.items.emplace_back();
    item.child = std::make_shared<Node>(request_.reactor(), &parent);
    item.child->cut = parent.cut;
    return item.child;
}

// The node whose output comes next: with held bytes first in its list, or with an empty list.
OutputOrder::Node& OutputOrder::front() {
    Node* node = root_.get();
    while (!node->items.empty()) {
        Node* child = node->items.front().child.get();
        if (child == nullptr) {
            break;
        }
        if (child->ended && child->items.empty()) {
            node->items.pop_front();
        } else {
            node = child;
            continue;
        }
        // What stood behind that child may be the end of its parent too: look again from above.
        node = root_.get();
    }
    return *node;
}

bool OutputOrder::hold(Node& node, const BodyChunk& chunk) {
    if (node.held + chunk.size() > kHeldBytes) {
        return false;
    }
    for (const http::BodyPart& part : chunk.parts) {
        if (part.file >= 0 && part.file_size > 0) {
            return false;  // its descriptor lives only as long as the write
        }
    }
    node.flush = node.flush || chunk.flags.flush;
    if (chunk.size() == 0) {
        return true;
    }
    if (node.items.empty() || node.items.back().child != nullptr) {
        node.items.emplace_back();
    }
    for (const http::BodyPart& part : chunk.parts) {
        node.items.back().bytes.append(part.bytes);
    }
    node.held += chunk.size();
    return true;
}

async::Task<Status> OutputOrder::write(Node& node, BodyChunk chunk) {
    if (failed_) {
        return async::Task<Status>::ready(cut_off());
    }
    if (node.cut) {
        chunk.parts = {};
    }
    const bool is_root = &node == root_.get();
    const bool in_turn = !pumping_ && &front() == &node && node.items.empty();
    if (!in_turn && !(is_root && chunk.flags.last) && hold(node, chunk)) {
        if (chunk.flags.last) {
            end(node);
        }
        return async::Task<Status>::ready(Status{});
    }
    return write_in_turn(node, chunk);
}

async::Task<Status> OutputOrder::write_in_turn(Node& node, BodyChunk chunk) {
    const bool is_root = &node == root_.get();
    for (;;) {
        if (failed_) {
            co_return cut_off();
        }
        if (node.cut) {
            chunk.parts = {};
        }
        if (!pumping_ && &front() == &node && node.items.empty()) {
            break;
        }
        if (!(is_root && chunk.flags.last) && hold(node, chunk)) {
            if (chunk.flags.last) {
                end(node);
            }
            co_return Status{};
        }
        node.turn.reset();
        co_await node.turn.wait();
    }
    const bool last = chunk.flags.last;
    chunk.flags.last = last && is_root;
    chunk.flags.flush = chunk.flags.flush || std::exchange(node.flush, false);
    const Status written = co_await write_response(request_, chunk);
    if (!written) {
        failed_ = true;
        wake(*root_);
        co_return written;
    }
    if (last && !is_root) {
        end(node);
    }
    co_return Status{};
}

void OutputOrder::end(Node& node) {
    node.ended = true;
    kick();
}

void OutputOrder::cut(Node& node) {
    node.cut = true;
    node.held = 0;
    std::erase_if(node.items, [](const Node::Item& item) { return item.child == nullptr; });
    for (Node::Item& item : node.items) {
        cut(*item.child);
    }
}

void OutputOrder::end_at(Node& node) {
    node.cut = true;
    for (Node* at = &node; at->parent != nullptr; at = at->parent) {
        Node& parent = *at->parent;
        parent.cut = true;
        bool behind = false;
        for (Node::Item& item : parent.items) {
            if (item.child.get() == at) {
                behind = true;
            } else if (behind && item.child != nullptr) {
                cut(*item.child);
            } else if (behind) {
                parent.held -= item.bytes.size();
                item.bytes.clear();
            }
        }
    }
}

void OutputOrder::fail() {
    if (!failed_) {
        close();
        request_.exchange.disable_keep_alive();
        request_.exchange.abort();
    }
}

void OutputOrder::close() {
    failed_ = true;
    wake(*root_);
}

void OutputOrder::wake(Node& node) {
    node.turn.set();
    for (Node::Item& item : node.items) {
        if (item.child != nullptr) {
            wake(*item.child);
        }
    }
}

void OutputOrder::kick() {
    if (pumping_ || failed_) {
        return;
    }
    pumping_ = true;
    pump_ = pump();
    pump_.arm(std::noop_coroutine()).resume();
}

async::Task<void> OutputOrder::pump() {
    while (!failed_) {
        Node& node = front();
        if (node.items.empty()) {
            break;
        }
        sending_ = std::move(node.items.front().bytes);
        node.items.pop_front();
        node.held -= sending_.size();
        // Only a flush that concerns all that was held of the node.
        const bool flush = node.held == 0 && std::exchange(node.flush, false);
        node.turn.set();
        const http::BodyPart part{.bytes = sending_};
        const Status written =
            co_await write_response(request_, {{&part, 1}, {.flush = flush, .last = false}});
        if (!written) {
            failed_ = true;
            wake(*root_);
        }
    }
    pumping_ = false;
    front().turn.set();
}

}  // namespace moongate::engine
