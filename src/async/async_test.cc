// Tasks, groups, events, timers, descriptors and workers. Timers are held against a sorted list.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "async/event.h"
#include "async/io.h"
#include "async/reactor.h"
#include "async/task.h"
#include "async/task_group.h"
#include "async/timer_wheel.h"
#include "async/worker.h"

namespace moongate::async {
namespace {

struct Witness {
    int& destroyed;
    ~Witness() { ++destroyed; }
};

Task<int> answer() {
    co_return 42;
}

Task<void> add_answer(int& sum) {
    if (co_await answer() == 42) {  // a condition: the form that g++ 12 miscompiles
        sum += co_await answer();
    }
}

Task<void> hold(Event& event, int& destroyed, int& passed) {
    Witness witness{destroyed};
    co_await event.wait();
    ++passed;
}

TEST(Task, RunsNothingUntilAwaited) {
    Reactor reactor;
    int sum = 0;
    Task<void> task = add_answer(sum);
    EXPECT_EQ(sum, 0);
    TaskGroup group(reactor);
    group.spawn("add", std::move(task));
    EXPECT_EQ(sum, 42);
    EXPECT_EQ(group.size(), 0U);
}

TEST(TaskGroup, DestroyingItUnwindsWhatWaits) {
    Reactor reactor;
    Event event(reactor);
    int destroyed = 0;
    int passed = 0;
    {
        TaskGroup group(reactor);
        for (int i = 0; i < 3; ++i) {
            group.spawn("hold", hold(event, destroyed, passed));
        }
        EXPECT_EQ(group.size(), 3U);
    }
    EXPECT_EQ(destroyed, 3);
    EXPECT_EQ(passed, 0);
    event.set();
    reactor.run_once(0);
    EXPECT_EQ(passed, 0);
}

TEST(Event, SetResumesInOrderThroughTheLoop) {
    Reactor reactor;
    Event event(reactor);
    TaskGroup group(reactor);
    int destroyed = 0;
    int passed = 0;
    group.spawn("a", hold(event, destroyed, passed));
    group.spawn("b", hold(event, destroyed, passed));
    event.set();
    EXPECT_EQ(passed, 0);
    reactor.run_once(0);
    EXPECT_EQ(passed, 2);
}

Task<void> wait_with_deadline(Event& event, std::vector<bool>& results) {
    results.push_back(co_await event.wait(Milliseconds(5)));
}

TEST(Event, WaitEndsAtItsDeadline) {
    Reactor reactor;
    Event event(reactor);
    TaskGroup group(reactor);
    std::vector<bool> results;
    group.spawn("wait", wait_with_deadline(event, results));
    while (results.empty()) {
        reactor.run_once(1000);
    }
    EXPECT_EQ(results, std::vector<bool>{false});
}

struct Fired {
    TimerWheel& wheel;
    std::vector<std::pair<std::uint64_t, std::uint64_t>>& log;  // deadline, time at which it fired
    const std::uint64_t& now;
    Timer timer{&Fired::fire, this};
    Fired(TimerWheel& w, std::vector<std::pair<std::uint64_t, std::uint64_t>>& l,
          const std::uint64_t& n)
        : wheel(w), log(l), now(n) {}
    static void fire(void* self) {
        auto& fired = *static_cast<Fired*>(self);
        fired.log.emplace_back(fired.timer.deadline_ms(), fired.now);
    }
};

// Every timer fires once, in the first advance() at or after its deadline, in the order of
// deadlines.
TEST(TimerWheel, FiresAsASortedListWould) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 50; ++round) {
        const std::uint64_t start = random() % 100'000'000;
        TimerWheel wheel(start);
        std::uint64_t now = start;
        std::vector<std::pair<std::uint64_t, std::uint64_t>> log;
        std::vector<std::unique_ptr<Fired>> timers;
        std::vector<std::uint64_t> expected;
        for (int i = 0; i < 200; ++i) {
            timers.push_back(std::make_unique<Fired>(wheel, log, now));
            const std::uint64_t deadline =
                start + 1 + random() % (std::uint64_t{1} << (random() % 27));
            wheel.set(timers.back()->timer, deadline);
            if (i % 7 == 0) {
                timers.back()->timer.clear();
            } else {
                expected.push_back(deadline);
            }
        }
        std::sort(expected.begin(), expected.end());
        std::uint64_t previous = now;
        while (log.size() < expected.size()) {
            const std::uint64_t next = wheel.next_ms();
            ASSERT_NE(next, TimerWheel::kNever);
            ASSERT_LE(next, expected[log.size()]);
            previous = now;
            now = std::max(next, now + random() % 1000);
            const std::size_t before = log.size();
            wheel.advance(now);
            for (std::size_t i = before; i < log.size(); ++i) {
                ASSERT_EQ(log[i].first, expected[i]);
                ASSERT_GT(log[i].first, previous);
                ASSERT_LE(log[i].first, now);
            }
        }
    }
}

Task<void> echo(Io io, std::string& got, bool& timed_out) {
    char buffer[16];
    for (;;) {
        if (!co_await io.readable(Milliseconds(20))) {
            timed_out = true;
            co_return;
        }
        const ssize_t n = io.try_read(buffer, sizeof buffer);
        if (n == Io::kWouldBlock) {
            continue;
        }
        if (n <= 0) {
            co_return;
        }
        got.append(buffer, static_cast<std::size_t>(n));
    }
}

class IoTest : public testing::Test {
protected:
    IoTest() {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        near_ = ends[0];
        far_ = ends[1];
    }
    ~IoTest() override {
        if (far_ >= 0) {
            ::close(far_);
        }
    }
    void send(std::string_view text) {
        EXPECT_EQ(::write(far_, text.data(), text.size()), ssize_t(text.size()));
    }

    Reactor reactor_;
    int near_ = -1;
    int far_ = -1;
    std::string got_;
    bool timed_out_ = false;
};

TEST_F(IoTest, ReadsWhatArrivesAcrossEdges) {
    TaskGroup group(reactor_);
    group.spawn("echo", echo(Io(reactor_, near_), got_, timed_out_));
    send("exactly 16 bytes");
    send("and some more of them");
    while (got_.size() < 37) {
        reactor_.run_once(1000);
    }
    send("!");
    ::close(std::exchange(far_, -1));
    while (group.size() != 0) {
        reactor_.run_once(1000);
    }
    EXPECT_EQ(got_, "exactly 16 bytesand some more of them!");
    EXPECT_FALSE(timed_out_);
}

TEST_F(IoTest, WaitEndsAtItsDeadline) {
    TaskGroup group(reactor_);
    group.spawn("echo", echo(Io(reactor_, near_), got_, timed_out_));
    while (group.size() != 0) {
        reactor_.run_once(1000);
    }
    EXPECT_TRUE(timed_out_);
}

TEST_F(IoTest, CancellingAWaiterLeavesNothingBehind) {
    {
        TaskGroup group(reactor_);
        group.spawn("echo", echo(Io(reactor_, near_), got_, timed_out_));
        reactor_.run_once(0);
    }
    reactor_.run_once(0);
    EXPECT_EQ(got_, "");
}

TEST(Worker, RunsMessagesOfManyThreadsInOrder) {
    std::vector<int> seen;
    std::unique_ptr<Worker> worker;
    std::atomic<Worker*> ready = nullptr;
    std::thread thread([&] {
        worker = std::make_unique<Worker>(0, 1);
        ready = worker.get();
        worker->run();
        worker.reset();
    });
    while (ready.load() == nullptr) {
        std::this_thread::yield();
    }
    std::vector<std::thread> senders;
    for (int sender = 0; sender < 4; ++sender) {
        senders.emplace_back([&ready, &seen, sender] {
            for (int i = 0; i < 1000; ++i) {
                ready.load()->post(
                    [&seen, value = sender * 1000 + i](Worker&) { seen.push_back(value); });
            }
        });
    }
    for (std::thread& sender : senders) {
        sender.join();
    }
    ready.load()->post([](Worker& self) { self.stop(); });
    thread.join();
    ASSERT_EQ(seen.size(), 4000U);
    int last[4] = {-1, -1, -1, -1};
    for (int value : seen) {
        EXPECT_LT(last[value / 1000], value);
        last[value / 1000] = value;
    }
}

}  // namespace
}  // namespace moongate::async
