// nginx's balancing methods: smooth weighted round robin, least_conn, ip_hash, hash, hash
// consistent (ketama) and random [two]. Each falls back to round robin, and to the backup servers,
// where nginx does. Immutable; any worker.
#pragma once

#include <memory>

#include "conf/compiled_string.h"
#include "upstream/balancer.h"

namespace moongate::upstream {

std::shared_ptr<const Balancer> make_round_robin();
std::shared_ptr<const Balancer> make_least_conn();
std::shared_ptr<const Balancer> make_ip_hash();
std::shared_ptr<const Balancer> make_hash(conf::CompiledString key, bool consistent);
// `two`: of two drawn, the one with fewer connections.
std::shared_ptr<const Balancer> make_random(bool two);

// CRC-32 (IEEE 802.3), as the hashing methods use it.
std::uint32_t crc32_update(std::uint32_t crc, std::string_view bytes);
constexpr std::uint32_t kCrc32Start = 0xffffffff;
constexpr std::uint32_t crc32_final(std::uint32_t crc) {
    return crc ^ 0xffffffff;
}

}  // namespace moongate::upstream
