// The file system behind FileReader.
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "conf/syntax.h"

namespace moongate::conf {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;

class SystemReader : public FileReader {
public:
    std::expected<std::string, Failure> read(const std::string& path) override {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return std::unexpected(Failure{errno, "open()"});
        }
        auto text = read_all(fd);
        ::close(fd);
        return text;
    }

    std::expected<std::vector<std::string>, Failure> glob(const std::string& pattern) override {
        glob_t found{};
        const int rc = ::glob(pattern.c_str(), 0, nullptr, &found);
        std::vector<std::string> names;
        if (rc == 0) {
            names.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
        }
        const int error = errno;
        ::globfree(&found);
        if (rc != 0 && rc != GLOB_NOMATCH) {
            return std::unexpected(Failure{rc == GLOB_NOSPACE ? ENOMEM : error, "glob()"});
        }
        return names;
    }

private:
    static std::expected<std::string, Failure> read_all(int fd) {
        struct stat info{};
        if (::fstat(fd, &info) != 0) {
            return std::unexpected(Failure{errno, "fstat()"});
        }
        if (S_ISREG(info.st_mode) && static_cast<std::size_t>(info.st_size) > kMaxFileBytes) {
            return std::unexpected(Failure{EFBIG, "read()"});
        }
        std::string text;
        char buffer[65536];
        for (;;) {
            const ssize_t n = ::read(fd, buffer, sizeof(buffer));
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                // nginx reads with pread() and says so.
                return std::unexpected(Failure{errno, "pread()"});
            }
            if (n == 0) {
                return text;
            }
            text.append(buffer, static_cast<std::size_t>(n));
            if (text.size() > kMaxFileBytes) {
                return std::unexpected(Failure{EFBIG, "read()"});
            }
        }
    }
};

}  // namespace

std::unique_ptr<FileReader> make_file_reader() {
    return std::make_unique<SystemReader>();
}

}  // namespace moongate::conf
