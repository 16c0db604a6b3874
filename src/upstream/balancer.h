// Balancer: how the next peer is chosen. A method object is immutable and shared; what it remembers
// of a request stands in the Selection, what it derives from the peers in PeerGroup::data. Lua's
// balancer phase and the gateway implement it too; theirs may wait. Source: nginx's
// ngx_http_upstream_*_module.c. One worker calls it for its own PeerSet.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/address.h"
#include "upstream/peer.h"

namespace moongate::engine {
class Request;
}

namespace moongate::upstream {

struct KeepaliveSettings {
    std::size_t connections = 0;  // 0: none are kept
    bool local = false;           // only for the location that opened them
    std::uint64_t requests = 1000;
    Milliseconds time{3600000};
    Milliseconds timeout{60000};
};

// What a try ended with, for the peer's health.
enum class Outcome : std::uint8_t { Ok, Next, Failed };

// What a balancer that chooses addresses by itself may ask for. The time-outs stay for later tries,
// the rest is for the try that follows.
struct TryTerms {
    std::string_view identity;  // only connections opened under the same one are reused
    std::optional<KeepaliveSettings> keepalive;  // the connection is kept under these instead of
                                                 // the upstream's
    std::optional<net::Address> local;
    Milliseconds connect_timeout{0};  // 0: the settings'
    Milliseconds send_timeout{0};
    Milliseconds read_timeout{0};
};

// One request's way through the peers.
struct Selection {
    explicit Selection(PeerSet& peers) : set(&peers) {}

    PeerSet* set;
    engine::Request* request = nullptr;
    std::int64_t now_s = 0;
    Peer* peer = nullptr;  // the chosen one
    std::vector<Peer*> tried;
    bool on_backup = false;
    std::uint32_t tries_left = 0;

    // A target that is no configured server (Lua's set_current_peer). Used where `peer` is null.
    std::optional<net::Address> address;
    std::string_view address_text;
    TryTerms terms;
    std::uint32_t choices = 0;        // made so far
    std::uint64_t tries_limit = 0;    // proxy_next_upstream_tries; 0: none
    std::optional<Outcome> last_end;  // of the try before
    int last_status = 0;

    // What hashing methods go by.
    std::string_view key;  // `hash`: the evaluated text; ip_hash: the bytes of the address
    std::uint32_t hash = 0;
    std::uint32_t rehash = 0;
    std::uint32_t hash_tries = 0;
    bool hash_ready = false;

    bool was_tried(const Peer* one) const {
        for (const Peer* other : tried) {
            if (other == one) {
                return true;
            }
        }
        return false;
    }
};

class Balancer {
public:
    virtual ~Balancer() = default;

    // Before the first choice: evaluates what choices go by.
    virtual void prepare(engine::Request&, Selection&) const {}
    // Sets selection.peer (or address) and returns true; false where no peer may be asked.
    virtual bool choose(Selection& selection) const = 0;
    // Methods that wait override both; choose() is not called then.
    virtual bool waits() const { return false; }
    virtual async::Task<Result<bool>> choose_later(Selection& selection) const;
    // Which parameters of `server` make no sense with the method.
    virtual bool supports_backup() const { return true; }
};

// Counts the use of selection.peer; nothing where there is none.
void take_peer(Selection& selection);
// Ends the use: health is updated and selection.peer becomes null. Returns true where the peer has
// just been left out for its failures ("upstream server temporarily disabled").
bool release_peer(Selection& selection, Outcome outcome);

// nginx's smooth weighted round robin over a group; null where none is available. Also the
// fallback of the hashing methods.
Peer* next_round_robin(PeerGroup& group, const Selection& selection);

}  // namespace moongate::upstream
