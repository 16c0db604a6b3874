// Balancing methods over peers in memory: nginx's sequences, failures, backup, fallback.
#include <gtest/gtest.h>

#include <map>

#include "upstream/balancers.h"
#include "upstream/upstream.h"

namespace moongate::upstream {
namespace {

struct Group {
    std::shared_ptr<Upstream> upstream = std::make_shared<Upstream>();
    std::unique_ptr<PeerSet> set;
    std::shared_ptr<const Balancer> method = make_round_robin();
    std::int64_t now_s = 1000;

    ServerRow& add(int number, std::int64_t weight = 1) {
        ServerRow row;
        row.name = "127.0.0." + std::to_string(number) + ":80";
        row.addresses.push_back(*net::parse_ip("127.0.0." + std::to_string(number), 80));
        row.weight = weight;
        upstream->servers.push_back(row);
        return upstream->servers.back();
    }
    PeerSet& peers() {
        if (set == nullptr) {
            set = std::make_unique<PeerSet>(*upstream);
        }
        return *set;
    }
    // The last number of the address chosen, or 0; the use ends with `outcome`.
    int ask(Outcome outcome = Outcome::Ok, std::string_view key = {}) {
        Selection selection(peers());
        selection.now_s = now_s;
        selection.key = key;
        selection.tries_left = peers().tries();
        if (!method->choose(selection)) {
            return 0;
        }
        take_peer(selection);
        const int number = selection.peer->name[8] - '0';
        release_peer(selection, outcome);
        return number;
    }
};

TEST(RoundRobin, InterleavesWeightsSmoothly) {
    Group group;
    group.add(1, 5);
    group.add(2);
    group.add(3);
    std::string order;
    for (int i = 0; i < 14; ++i) {
        order += static_cast<char>('0' + group.ask());
    }
    EXPECT_EQ(order, "11213111121311");
}

TEST(RoundRobin, LeavesAFailedPeerOutForItsTimeoutThenTriesOnce) {
    Group group;
    group.add(1);
    group.add(2);
    while (group.ask(Outcome::Failed) != 1) {
    }
    group.now_s += 1;
    // Peer 2 may have failed above too; it is asked again after its time.
    group.now_s += 11;
    std::map<int, int> seen;
    for (int i = 0; i < 10; ++i) {
        ++seen[group.ask()];
    }
    EXPECT_GT(seen[1], 0);
    EXPECT_GT(seen[2], 0);
}

TEST(RoundRobin, AllFailedMeansNoneUntilTheTimeIsOver) {
    Group group;
    group.add(1);
    group.add(2);
    group.ask(Outcome::Failed);
    group.ask(Outcome::Failed);
    EXPECT_EQ(group.ask(), 0);
    group.now_s += 11;
    EXPECT_NE(group.ask(), 0);
}

TEST(RoundRobin, MaxFailsZeroNeverLeavesOut) {
    Group group;
    group.add(1).max_fails = 0;
    group.add(2).max_fails = 0;
    for (int i = 0; i < 6; ++i) {
        EXPECT_NE(group.ask(Outcome::Failed), 0);
    }
}

TEST(RoundRobin, SinglePeerIsAskedWhateverItsFailures) {
    Group group;
    group.add(1);
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(group.ask(Outcome::Failed), 1);
    }
}

TEST(RoundRobin, BackupServesWhenTheOthersAreOut) {
    Group group;
    group.add(1);
    group.add(2).backup = true;
    EXPECT_EQ(group.ask(Outcome::Failed), 1);
    EXPECT_EQ(group.ask(), 2);
    group.now_s += 11;
    EXPECT_EQ(group.ask(), 1);
}

TEST(RoundRobin, DownAndFullPeersAreNotAsked) {
    Group group;
    group.add(1).down = true;
    group.add(2).max_connections = 1;
    group.add(3);
    Selection held(group.peers());
    held.now_s = group.now_s;
    while (held.peer == nullptr || held.peer->name[8] != '2') {
        ASSERT_TRUE(group.method->choose(held));
    }
    take_peer(held);
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(group.ask(), 3);
    }
    release_peer(held, Outcome::Ok);
    std::map<int, int> seen;
    for (int i = 0; i < 6; ++i) {
        ++seen[group.ask()];
    }
    EXPECT_GT(seen[2], 0);
    EXPECT_EQ(seen[1], 0);
}

TEST(RoundRobin, ARequestNeverAsksTheSamePeerTwice) {
    Group group;
    group.add(1, 10);
    group.add(2);
    Selection selection(group.peers());
    selection.now_s = group.now_s;
    ASSERT_TRUE(group.method->choose(selection));
    const Peer* first = selection.peer;
    take_peer(selection);
    release_peer(selection, Outcome::Next);
    ASSERT_TRUE(group.method->choose(selection));
    EXPECT_NE(selection.peer, first);
    take_peer(selection);
    release_peer(selection, Outcome::Next);
    EXPECT_FALSE(group.method->choose(selection));
}

TEST(LeastConn, TakesTheLeastLoadedForItsWeight) {
    Group group;
    group.method = make_least_conn();
    group.add(1, 3);
    group.add(2);
    std::vector<Selection> held;
    std::map<int, int> seen;
    for (int i = 0; i < 8; ++i) {
        held.emplace_back(group.peers());
        held.back().now_s = group.now_s;
        ASSERT_TRUE(group.method->choose(held.back()));
        take_peer(held.back());
        ++seen[held.back().peer->name[8] - '0'];
    }
    EXPECT_EQ(seen[1], 6);
    EXPECT_EQ(seen[2], 2);
    for (Selection& one : held) {
        release_peer(one, Outcome::Ok);
    }
    EXPECT_EQ(group.peers().primary().peers[0]->health->connections.load(), 0U);
}

TEST(Hash, SameKeySamePeerAndAnotherOnceThatIsOut) {
    for (const bool consistent : {false, true}) {
        Group group;
        group.method = make_hash({}, consistent);
        for (int i = 1; i <= 4; ++i) {
            group.add(i);
        }
        const int chosen = group.ask(Outcome::Ok, "key");
        for (int i = 0; i < 5; ++i) {
            EXPECT_EQ(group.ask(Outcome::Ok, "key"), chosen);
        }
        group.ask(Outcome::Failed, "key");
        EXPECT_NE(group.ask(Outcome::Ok, "key"), chosen);
        EXPECT_NE(group.ask(Outcome::Ok, "key"), 0);
    }
}

TEST(Hash, ConsistentMovesFewKeysWhenAServerGoes) {
    Group all;
    Group fewer;
    all.method = fewer.method = make_hash({}, true);
    for (int i = 1; i <= 5; ++i) {
        all.add(i);
        if (i != 3) {
            fewer.add(i);
        }
    }
    int moved = 0;
    std::map<int, int> spread;
    for (int i = 0; i < 1000; ++i) {
        const std::string key = "key" + std::to_string(i);
        const int before = all.ask(Outcome::Ok, key);
        ++spread[before];
        if (before != 3 && fewer.ask(Outcome::Ok, key) != before) {
            ++moved;
        }
    }
    EXPECT_EQ(moved, 0);
    for (int i = 1; i <= 5; ++i) {
        EXPECT_GT(spread[i], 80) << i;
    }
}

TEST(Hash, Crc32IsTheStandardOne) {
    EXPECT_EQ(crc32_final(crc32_update(kCrc32Start, "123456789")), 0xcbf43926U);
}

TEST(Random, SpreadsByWeight) {
    Group group;
    group.method = make_random(false);
    group.add(1, 9);
    group.add(2, 1);
    std::map<int, int> seen;
    for (int i = 0; i < 2000; ++i) {
        ++seen[group.ask()];
    }
    EXPECT_GT(seen[1], 1600);
    EXPECT_GT(seen[2], 100);
}

TEST(PeerSet, UpdateKeepsWhatStaysAndFreesTheRestAfterUse) {
    Group group;
    group.add(1).resolve = true;
    group.add(9);
    PeerSet& set = group.peers();
    Selection held(set);
    held.now_s = group.now_s;
    while (held.peer == nullptr || held.peer->name[8] != '1') {
        ASSERT_TRUE(group.method->choose(held));
    }
    take_peer(held);
    set.update(0, {{*net::parse_ip("127.0.0.2", 80), 0, false},
                   {*net::parse_ip("127.0.0.3", 80), 4, false}});
    EXPECT_EQ(set.primary().peers.size(), 3U);
    EXPECT_EQ(set.primary().total_weight, 6);
    EXPECT_EQ(held.peer->name, "127.0.0.1:80");  // still there for who uses it
    release_peer(held, Outcome::Ok);
    std::map<int, int> seen;
    for (int i = 0; i < 12; ++i) {
        ++seen[group.ask()];
    }
    EXPECT_EQ(seen[1], 0);
    EXPECT_EQ(seen[3], 8);
}

TEST(PeerHealth, IsSharedWhereTheUpstreamHasAZone) {
    Group group;
    group.upstream->zone = std::make_shared<SharedHealth>();
    group.add(1);
    group.add(2);
    PeerSet other(*group.upstream);
    group.ask(Outcome::Failed);
    group.ask(Outcome::Failed);
    Selection selection(other);
    selection.now_s = group.now_s;
    EXPECT_FALSE(group.method->choose(selection));
}

}  // namespace
}  // namespace moongate::upstream
