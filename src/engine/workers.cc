#include "engine/workers.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <future>
#include <latch>
#include <optional>
#include <set>
#include <thread>

#include "async/frame_pool.h"
#include "base/arena.h"
#include "base/buffer.h"
#include "engine/connection.h"
#include "engine/module.h"
#include "engine/snapshot.h"

namespace moongate::engine {
namespace {

// Accepted in one turn of the loop, before the connections that exist have theirs.
constexpr int kAcceptBudget = 32;
// After the system ran out of descriptors or memory.
constexpr Milliseconds kAcceptPause{200};

class Ready {
public:
    explicit Ready(async::Registration& registration) : registration_(registration) {}
    Ready(const Ready&) = delete;
    ~Ready() { registration_.on_readable = nullptr; }
    bool await_ready() const { return registration_.readable; }
    void await_suspend(std::coroutine_handle<> handle) {
        handle_ = handle;
        registration_.readable_context = this;
        registration_.on_readable = [](void* self) { static_cast<Ready*>(self)->handle_.resume(); };
    }
    void await_resume() const { registration_.readable = false; }

private:
    async::Registration& registration_;
    std::coroutine_handle<> handle_;
};

}  // namespace

// One worker's thread and what lives on it.
class Workers::Thread {
public:
    Thread(const WorkersOptions& options, int id) : options_(options), id_(id) {}

    std::future<Status> start(std::shared_ptr<const Snapshot> snapshot,
                              std::vector<AcceptSocket> sockets) {
        std::future<Status> started = started_.get_future();
        thread_ = std::thread(
            [this, snapshot = std::move(snapshot), sockets = std::move(sockets)]() mutable {
                body(std::move(snapshot), std::move(sockets));
            });
        return started;
    }
    void post(std::move_only_function<void(Thread&)> call) {
        worker_->post([this, call = std::move(call)](async::Worker&) mutable { call(*this); });
    }
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    bool running() const { return worker_.has_value() && !ended_; }

    WorkerState& state() { return *state_; }

    void serve(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets) {
        state_->serve(std::move(snapshot));
        list_.close_lost(*state_->current());
        listen(std::move(sockets));
    }

    void listen(std::vector<AcceptSocket> sockets) {
        std::erase_if(sockets, [this](const AcceptSocket& s) {
            return s.only_worker >= 0 && s.only_worker != id_;
        });
        std::erase_if(acceptors_, [&sockets](const auto& acceptor) {
            return std::ranges::none_of(sockets, [&](const AcceptSocket& s) {
                return s.fd == acceptor->socket.fd && s.name == acceptor->socket.name;
            });
        });
        for (AcceptSocket& socket : sockets) {
            if (std::ranges::any_of(acceptors_, [&](const auto& a) {
                    return a->socket.fd == socket.fd && a->socket.name == socket.name;
                })) {
                continue;
            }
            acceptors_.push_back(std::make_unique<Acceptor>(state_->reactor(), std::move(socket)));
            Acceptor& added = *acceptors_.back();
            added.name = *names_.insert(added.socket.name).first;
            added.task.spawn("accept", accept(added));
        }
    }

    void quit(Milliseconds limit, std::shared_ptr<std::atomic<int>> left,
              std::function<void()> finished) {
        acceptors_.clear();
        state_->exiting = true;
        list_.close_idle();
        worker_->tasks().spawn("quit", drain(limit, std::move(left), std::move(finished)));
    }

    void stop() { worker_->stop(); }

private:
    // Waits for connections at one socket while it lives.
    struct Acceptor {
        Acceptor(async::Reactor& reactor, AcceptSocket from)
            : on(reactor), socket(std::move(from)), task(reactor) {
            if (const auto added = reactor.add(socket.fd, true)) {
                registration = *added;
            }
        }
        ~Acceptor() {
            task.cancel_all();
            if (registration != nullptr) {
                on.remove(registration);
            }
        }
        async::Reactor& on;
        AcceptSocket socket;
        std::string_view name;  // socket.name, for connections that outlive the acceptor
        async::Registration* registration = nullptr;
        async::TaskGroup task;
    };

    void body(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets) {
        pin_to_cpus();
        worker_.emplace(id_, options_.count);
        state_.emplace(*worker_);
        connections_.emplace(worker_->reactor());
        const auto modules = snapshot->modules();
        state_->prepare(modules.size());
        state_->begin(std::move(snapshot));
        for (const Module* module : modules) {
            if (module->start_worker == nullptr) {
                continue;
            }
            if (Status started = module->start_worker(*state_); !started) {
                // On this thread too: modules keep things by thread.
                end();
                started_.set_value(started);
                return;
            }
        }
        state_->announce();
        listen(std::move(sockets));
        started_.set_value({});
        worker_->run();
        end();
        // The worker itself stays until the thread was joined: stop() may still be writing to it.
    }

    void end() {
        acceptors_.clear();
        connections_->cancel_all();
        worker_->tasks().cancel_all();
        ended_ = true;
        connections_.reset();
        state_.reset();
        async::release_frames();
        release_buffers();
        release_arena_blocks();
    }

    void pin_to_cpus() {
        if (options_.cpus.empty()) {
            return;
        }
        cpu_set_t set;
        CPU_ZERO(&set);
        for (unsigned cpu : options_.cpus[static_cast<std::size_t>(id_) % options_.cpus.size()]) {
            CPU_SET(cpu, &set);
        }
        if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
            options_.log.print(LogLevel::Alert, 0, "sched_setaffinity() failed");
        }
    }

    async::Task<void> accept(Acceptor& at) {
        if (at.registration == nullptr) {
            options_.log.print(LogLevel::Alert, 0, "epoll_ctl() failed for listening socket {}",
                               at.socket.name);
            co_return;
        }
        for (;;) {
            co_await Ready(*at.registration);
            for (int budget = kAcceptBudget; budget > 0; --budget) {
                http::SocketAddress remote;
                socklen_t size = sizeof remote;
                const int fd =
                    ::accept4(at.socket.fd, &remote.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0) {
                    if (!take(at, fd, remote)) {
                        break;
                    }
                    continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                    options_.log.print(LogLevel::Crit, 0, "accept4() failed {}", errno_text(errno));
                    list_.close_idle();
                    co_await async::sleep(state_->reactor(), kAcceptPause);
                } else if (errno == ECONNABORTED || errno == EINTR) {
                    continue;
                }
                break;
            }
        }
    }

    bool take(Acceptor& at, int fd, const http::SocketAddress& remote) {
        ++state_->counters.accepted;
        if (list_.size() >= options_.max_connections) {
            // Connections that only wait for a further request make room, as in nginx.
            list_.close_idle();
            if (list_.size() >= options_.max_connections * 2) {
                options_.log.print(LogLevel::Alert, 0, "{} worker_connections are not enough",
                                   options_.max_connections);
                ::close(fd);
                return false;
            }
        }
        connections_->spawn("connection", serve_connection(*state_, list_, fd, remote, at.name));
        return true;
    }

    async::Task<void> drain(Milliseconds limit, std::shared_ptr<std::atomic<int>> left,
                            std::function<void()> finished) {
        co_await connections_->drained(limit > Milliseconds::zero() ? limit : async::kNoDeadline);
        connections_->cancel_all();
        for (const Module* module : state_->current()->modules()) {
            if (module->stop_worker != nullptr) {
                co_await module->stop_worker(*state_);
            }
        }
        if (left->fetch_sub(1) == 1) {
            finished();
        }
    }

    const WorkersOptions& options_;
    const int id_;
    std::set<std::string> names_;  // of every socket there ever was: connections refer to them
    std::thread thread_;
    std::promise<Status> started_;
    std::atomic<bool> ended_ = false;
    ConnectionList list_;
    std::optional<async::Worker> worker_;
    std::optional<WorkerState> state_;
    std::optional<async::TaskGroup> connections_;
    std::vector<std::unique_ptr<Acceptor>> acceptors_;
};

Workers::Workers(WorkersOptions options) : options_(std::move(options)) {
    for (int id = 0; id < options_.count; ++id) {
        threads_.push_back(std::make_unique<Thread>(options_, id));
    }
}

Workers::~Workers() {
    stop();
}

Status Workers::start(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets) {
    std::vector<std::future<Status>> starting;
    for (const auto& thread : threads_) {
        starting.push_back(thread->start(snapshot, sockets));
    }
    Status all;
    for (std::future<Status>& one : starting) {
        if (Status started = one.get(); !started) {
            all = started;
        }
    }
    return all;
}

void Workers::serve(std::shared_ptr<const Snapshot> snapshot, std::vector<AcceptSocket> sockets) {
    std::latch done(static_cast<std::ptrdiff_t>(threads_.size()));
    for (const auto& thread : threads_) {
        thread->post([&done, snapshot, sockets](Thread& on) mutable {
            on.serve(std::move(snapshot), std::move(sockets));
            done.count_down();
        });
    }
    done.wait();
}

void Workers::on_each(const std::function<void(WorkerState&)>& call) {
    std::latch done(static_cast<std::ptrdiff_t>(threads_.size()));
    for (const auto& thread : threads_) {
        thread->post([&](Thread& on) {
            call(on.state());
            done.count_down();
        });
    }
    done.wait();
}

void Workers::quit(Milliseconds limit, std::function<void()> finished) {
    const auto left = std::make_shared<std::atomic<int>>(static_cast<int>(threads_.size()));
    std::latch closed(static_cast<std::ptrdiff_t>(threads_.size()));
    for (const auto& thread : threads_) {
        thread->post([limit, left, finished, &closed](Thread& on) {
            on.quit(limit, left, finished);
            closed.count_down();
        });
    }
    closed.wait();
}

void Workers::stop() {
    for (const auto& thread : threads_) {
        if (thread->running()) {
            thread->stop();
        }
    }
    for (const auto& thread : threads_) {
        thread->join();
    }
    threads_.clear();
}

}  // namespace moongate::engine
