// Temporary files as nginx names them: ten digits of a number, spread over directories by the
// number's last digits. One counter for the process.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <random>

#include "engine/request_body.h"

namespace moongate::engine {
namespace {

// Makes `directory` and those above it. False with errno where that fails.
bool make_directories(const std::string& directory) {
    for (std::size_t at = directory.find('/', 1);; at = directory.find('/', at + 1)) {
        const std::string part = directory.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            return false;
        }
        if (at == std::string::npos) {
            return true;
        }
    }
}

// "/7/45": the last digits first, as many in a level as it says.
std::string level_directories(const std::string& digits, const TempLevels& levels) {
    std::string text;
    std::size_t end = digits.size();
    for (const std::uint8_t level : levels) {
        if (level == 0 || level > end) {
            break;
        }
        end -= level;
        text += '/';
        text.append(digits, end, level);
    }
    return text;
}

}  // namespace

Result<int> open_temporary_file(std::string_view directory, std::string* name,
                                const TempLevels& levels) {
    // Starts anywhere: files that an earlier process left cost no search.
    static std::atomic<std::uint32_t> next{std::random_device{}()};
    constexpr int kTries = 1000;
    int error = EEXIST;
    for (int tries = 0; tries < kTries && error == EEXIST; ++tries) {
        const std::string digits =
            fmt::format("{:010}", next.fetch_add(1, std::memory_order_relaxed));
        const std::string below = std::string(directory) + level_directories(digits, levels);
        const std::string path = below + '/' + digits;
        constexpr int kFlags = O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW;
        int fd = ::open(path.c_str(), kFlags, 0600);
        if (fd < 0 && errno == ENOENT && make_directories(below)) {
            fd = ::open(path.c_str(), kFlags, 0600);
        }
        if (fd >= 0) {
            if (name != nullptr) {
                *name = path;
            } else {
                ::unlink(path.c_str());
            }
            return fd;
        }
        error = errno;
    }
    return errno_error(error, "open()");
}

}  // namespace moongate::engine
