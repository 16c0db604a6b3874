// OutputOrder: the parts of a response that several requests write at once (a request and its
// streamed subrequests) in the order in which they belong. Each request has a node: a list of its
// held bytes and of its subrequests' nodes. The node at the front writes through; the others hold
// up to kHeldBytes and then wait for their turn, which is their backpressure. Held bytes flow as
// soon as the turn comes, whatever their request does then. Owned by the request whose response it
// is (the main one, or a captured subrequest). One thread.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "async/event.h"
#include "async/task.h"
#include "base/result.h"
#include "engine/filters.h"

namespace moongate::engine {

class Request;

class OutputOrder {
public:
    static constexpr std::size_t kHeldBytes = 64 * 1024;  // of each request

    class Node;

    // Writes to the exchange of `root`, which must outlive this.
    explicit OutputOrder(Request& root);
    OutputOrder(const OutputOrder&) = delete;
    ~OutputOrder();

    Node& root() { return *root_; }
    // A node behind all that `parent` has written so far. Who writes to it keeps it; the order
    // keeps it until it has ended and its output has flowed.
    std::shared_ptr<Node> add(Node& parent);
    // The root's last part goes out behind everything else; any other node's `last` is as end().
    async::Task<Status> write(Node& node, BodyChunk chunk);
    // No output of the node itself follows; those of its children may.
    void end(Node& node);
    // The response ends behind what `node` has written so far: what stands behind is dropped, and
    // later writes are as well, without an error.
    void end_at(Node& node);
    // The response cannot be completed: it is cut off, and all writes fail from now on.
    void fail();
    // Nothing is written any more; what waits to write fails.
    void close();
    bool failed() const { return failed_; }

private:
    Node& front();
    bool hold(Node& node, const BodyChunk& chunk);
    void kick();
    async::Task<void> pump();
    async::Task<Status> write_in_turn(Node& node, BodyChunk chunk);
    static void wake(Node& node);
    static void cut(Node& node);

    Request& request_;
    std::unique_ptr<Node> root_;
    std::string sending_;
    async::Task<void> pump_;
    bool pumping_ = false;
    bool failed_ = false;
};

}  // namespace moongate::engine
