// The listening sockets, which the supervisor opens and keeps for as long as the configuration
// names them: an engine may die and a binary be replaced without a connection being refused.
// Messages are nginx's. Supervisor thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/engine_process.h"
#include "app/unique_fd.h"
#include "base/log.h"

namespace moongate::app {

// "0.0.0.0:80", "[::1]:80", "unix:/path".
std::string address_text(const sockaddr_storage& address, socklen_t bytes);

struct Listener {
    ListenSpec spec;
    std::string name;
    unsigned copy = 0;
    UniqueFd fd;
    bool configured = false;  // `spec` is in force on the socket
};

// Shared by the set in use and the candidate set of a reload: the socket closes with the last set
// that holds it.
class ListenerSet {
public:
    const std::vector<std::shared_ptr<Listener>>& all() const { return listeners_; }
    void add(std::shared_ptr<Listener> listener) { listeners_.push_back(std::move(listener)); }
    bool contains(const Listener& listener) const;
    std::shared_ptr<Listener> find(std::string_view name, int type, unsigned copy) const;
    // As the engine gets them; the descriptors stay this set's.
    std::vector<ListenSocket> sockets() const;

    // Removes the socket files of unix listeners that `kept` does not hold: they would refuse
    // connections.
    void remove_socket_files(const ListenerSet& kept, const Log& log) const;

private:
    std::vector<std::shared_ptr<Listener>> listeners_;
};

// The sockets that `wanted` names, taken from `previous` where it has them. An address in use is
// tried five times, 500 ms apart. Nothing is left open on failure, which is logged.
std::optional<ListenerSet> open_listeners(const std::vector<ListenSpec>& wanted,
                                          const ListenerSet& previous, const Log& log);
// Brings the sockets' options to what `wanted` says: once the set is the one in use.
void configure_listeners(const ListenerSet& set, const std::vector<ListenSpec>& wanted,
                         const Log& log);
// -t: binds what is free and closes it again; an address in use is no fault.
bool test_listeners(const std::vector<ListenSpec>& wanted, const Log& log);

// The sockets handed over by an older binary in the environment variable NGINX ("6;7;").
ListenerSet inherit_listeners(std::string_view variable, const Log& log);
// The value to hand over.
std::string listeners_variable(const ListenerSet& set);

}  // namespace moongate::app
