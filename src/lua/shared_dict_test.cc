// A dictionary's memory: what fits, what is dropped for room, what comes back.
#include "lua/shared_dict.h"

#include <gtest/gtest.h>

#include <thread>

namespace moongate::lua {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

DictResult set(SharedDict& dict, std::string_view key, std::string_view text, int op = 0,
               std::int64_t ttl_ms = 0) {
    return dict.store(op, key, DictType::String, text, 0, ttl_ms, 0);
}

std::size_t size_of(const SharedDict& dict, std::string_view key) {
    char buffer[1];
    const SharedDict::Got got = dict.get(key, buffer, sizeof(buffer), false);
    if (got.text != buffer) {
        std::free(got.text);
    }
    return got.type == DictType::String ? got.size : 0;
}

TEST(SharedDict, OneValueMayTakeMostOfIt) {
    SharedDict dict("dogs", 6 * kMiB);
    const DictResult stored = set(dict, "big", std::string(3 * kMiB, 'x'));
    EXPECT_TRUE(stored.ok);
    EXPECT_FALSE(stored.forcible);
    EXPECT_EQ(size_of(dict, "big"), 3 * kMiB);
    EXPECT_LT(dict.free_space(), 3 * kMiB);
    EXPECT_TRUE(set(dict, "big", std::string(5 * kMiB, 'y')).ok);
    EXPECT_EQ(size_of(dict, "big"), 5 * kMiB);
}

TEST(SharedDict, TooLargeAValueDropsNothing) {
    SharedDict dict("dogs", 6 * kMiB);
    ASSERT_TRUE(set(dict, "small", "value").ok);
    const DictResult stored = set(dict, "big", std::string(6 * kMiB, 'x'));
    EXPECT_FALSE(stored.ok);
    EXPECT_STREQ(stored.error, "no memory");
    EXPECT_FALSE(stored.forcible);
    EXPECT_EQ(size_of(dict, "small"), 5U);
}

TEST(SharedDict, ALargeValueDropsTheLeastRecentlyUsedOfAllShards) {
    SharedDict dict("dogs", 8 * kMiB);
    for (int i = 0; i < 7; ++i) {
        ASSERT_FALSE(set(dict, "key" + std::to_string(i), std::string(kMiB, 'x')).forcible);
    }
    ASSERT_EQ(size_of(dict, "key0"), kMiB);  // used: now key1 is the oldest
    EXPECT_STREQ(set(dict, "big", std::string(2 * kMiB, 'x'), SharedDict::kSafe).error,
                 "no memory");
    const DictResult stored = set(dict, "big", std::string(2 * kMiB, 'x'));
    EXPECT_TRUE(stored.ok);
    EXPECT_TRUE(stored.forcible);
    EXPECT_EQ(size_of(dict, "key0"), kMiB);
    EXPECT_EQ(size_of(dict, "key1"), 0U);
    EXPECT_EQ(size_of(dict, "key2"), 0U);
    EXPECT_EQ(size_of(dict, "key3"), kMiB);
}

TEST(SharedDict, SmallValuesNeverTakeMoreThanThereIs) {
    SharedDict dict("dogs", 8 * kMiB);
    bool forced = false;
    for (int i = 0; i < 100000; ++i) {
        const DictResult stored = set(dict, "key" + std::to_string(i), std::string(100, 'x'));
        ASSERT_TRUE(stored.ok);
        forced = forced || stored.forcible;
    }
    EXPECT_TRUE(forced);
    EXPECT_LT(dict.free_space(), kMiB / 2);
    EXPECT_EQ(size_of(dict, "key99999"), 100U);
    // Nearly as many as fit, none of the oldest.
    const std::size_t kept = dict.keys(0).size();
    EXPECT_GT(kept, 30000U);
    EXPECT_LE(kept, 8 * kMiB / 256);
    EXPECT_EQ(size_of(dict, "key0"), 0U);
    // A value that is large for a shard still finds room.
    EXPECT_TRUE(set(dict, "big", std::string(7 * kMiB, 'x')).forcible);
    EXPECT_EQ(size_of(dict, "big"), 7 * kMiB);
}

TEST(SharedDict, WhatGoesComesBack) {
    SharedDict dict("dogs", 4 * kMiB);
    const std::size_t before = dict.free_space();
    std::int64_t length = 0;
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(set(dict, "text", std::string(kMiB, 'x')).ok);
        ASSERT_TRUE(set(dict, "text", "short").ok);
        double number = 1;
        ASSERT_TRUE(dict.increment("number", number, true, 0, 0).ok);
        for (int i = 0; i < 10; ++i) {
            ASSERT_TRUE(
                dict.push("list", DictType::String, std::string(50000, 'x'), 0, true, length).ok);
        }
        EXPECT_LT(dict.free_space(), before - 500000);
        DictValue value;
        while (dict.length("list", length).ok && length > 0) {
            ASSERT_TRUE(dict.pop("list", false, value).ok);
        }
        ASSERT_TRUE(dict.store(0, "text", DictType::Nil, {}, 0, 0, 0).ok);
        ASSERT_TRUE(dict.store(0, "number", DictType::Nil, {}, 0, 0, 0).ok);
        EXPECT_EQ(dict.free_space(), before);
    }
}

TEST(SharedDict, SafeStoresTakeTheRoomOfExpiredEntries) {
    SharedDict dict("dogs", 4 * kMiB);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(set(dict, "key" + std::to_string(i), std::string(kMiB, 'x')).ok);
    }
    const std::string large(3 * kMiB, 'y');
    EXPECT_FALSE(set(dict, "big", large, SharedDict::kSafe).ok);
    dict.flush_all();
    const DictResult stored = set(dict, "big", large, SharedDict::kSafe);
    EXPECT_TRUE(stored.ok);
    EXPECT_FALSE(stored.forcible);
    EXPECT_EQ(size_of(dict, "big"), large.size());
}

TEST(SharedDict, ThreadsThatNeedTheWholeDictionaryAgree) {
    SharedDict dict("dogs", 4 * kMiB);
    const std::size_t empty = dict.free_space();
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&dict, thread] {
            for (int i = 0; i < 300; ++i) {
                const std::string key = std::to_string(thread) + "/" + std::to_string(i % 20);
                EXPECT_TRUE(set(dict, key, std::string((i % 9 + 1) * 100000, 'x')).ok);
                EXPECT_TRUE(set(dict, key + "s", "small").ok);
                double number = 1;
                EXPECT_TRUE(dict.increment("hot", number, true, 0, 0).ok);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    dict.flush_all();
    dict.flush_expired(0);
    EXPECT_EQ(dict.free_space(), empty);
}

}  // namespace
}  // namespace moongate::lua
