// Background and any_done(): results, cancelling, waiting for the first of several.
#include "async/background.h"

#include <gtest/gtest.h>

namespace moongate::async {
namespace {

struct Mark {
    int* counter;
    explicit Mark(int& c) : counter(&c) {}
    ~Mark() { ++*counter; }
};

Task<int> later(Reactor& reactor, int ms, int value, int& destroyed) {
    Mark mark(destroyed);
    co_await sleep(reactor, Milliseconds(ms));
    co_return value;
}

Task<int> at_once(int value) {
    co_return value;
}

Task<void> race(Reactor& reactor, int& first, int& destroyed, bool& finished) {
    Background<int> slow(reactor);
    Background<int> fast(reactor);
    EXPECT_FALSE(slow.start(later(reactor, 10000, 1, destroyed)));
    EXPECT_FALSE(fast.start(later(reactor, 1, 2, destroyed)));
    co_await any_done(slow, fast);
    EXPECT_TRUE(fast.done());
    EXPECT_TRUE(slow.running());
    first = fast.take();
    EXPECT_FALSE(fast.done());
    finished = true;
}

TEST(Background, FirstOfTwoWinsAndTheOtherIsCancelled) {
    Reactor reactor;
    int first = 0;
    int destroyed = 0;
    bool finished = false;
    Task<void> task = race(reactor, first, destroyed, finished);
    task.arm(std::noop_coroutine()).resume();
    for (int i = 0; i < 1000 && !finished; ++i) {
        reactor.run_once(5);
    }
    EXPECT_TRUE(finished);
    EXPECT_EQ(first, 2);
    task.reset();
    EXPECT_EQ(destroyed, 2);
}

TEST(Background, TaskThatNeverWaitsIsDoneAtStart) {
    Reactor reactor;
    Background<int> background(reactor);
    EXPECT_TRUE(background.start(at_once(7)));
    EXPECT_FALSE(background.running());
    EXPECT_EQ(background.take(), 7);
    EXPECT_TRUE(background.start(at_once(8)));
    EXPECT_EQ(background.take(), 8);
}

TEST(Background, DestroyingTheOwnerCancelsBoth) {
    Reactor reactor;
    int first = 0;
    int destroyed = 0;
    bool finished = false;
    {
        Task<void> task = race(reactor, first, destroyed, finished);
        task.arm(std::noop_coroutine()).resume();
    }
    EXPECT_EQ(destroyed, 2);
    EXPECT_FALSE(finished);
}

}  // namespace
}  // namespace moongate::async
