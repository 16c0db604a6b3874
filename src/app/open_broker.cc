#include "app/open_broker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <expected>

#include "app/supervisor_protocol.h"

namespace moongate::app {
namespace {

bool is_named(const protocol::OpenRequest& request,
              std::span<const std::vector<NamedFile>* const> allowed) {
    const NamedFile wanted{request.path, request.mode};
    return std::ranges::any_of(allowed, [&wanted](const std::vector<NamedFile>* files) {
        return files != nullptr && std::ranges::find(*files, wanted) != files->end();
    });
}

// The error is an errno.
std::expected<UniqueFd, int> open_regular(const std::string& path, OpenMode mode) {
    const int flags = mode == OpenMode::Read
                          ? O_RDONLY | O_NONBLOCK
                          : O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY, 0644));
    if (!fd) {
        return std::unexpected(errno);
    }
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
        return std::unexpected(EACCES);
    }
    ::fcntl(fd.get(), F_SETFL, mode == OpenMode::Append ? O_APPEND : 0);
    return fd;
}

}  // namespace

void answer_open_requests(Channel& channel, std::span<const std::vector<NamedFile>* const> allowed,
                          const Log& log) {
    while (channel) {
        auto message = channel.receive();
        if (!message) {
            if (message.error().kind != ErrorKind::TimedOut) {
                channel.close();
            }
            return;
        }
        const auto request = protocol::parse_open(message->body);
        std::expected<UniqueFd, int> opened = std::unexpected(EACCES);
        if (!request || !is_named(*request, allowed)) {
            log.print(
                LogLevel::Alert, 0,
                "worker process asked for a file that the configuration does not name: \"{}\"",
                request ? request->path : message->body.substr(0, 256));
        } else if (::geteuid() == 0) {
            opened = open_regular(request->path, request->mode);
        }
        if (opened) {
            const int fd = opened->get();
            (void)channel.send(protocol::kFd, {&fd, 1});
        } else {
            (void)channel.send(protocol::format_errno(opened.error()));
        }
    }
}

void hand_over_logs(const std::vector<NamedFile>& files, const Account& account, const Log& log) {
    for (const NamedFile& file : files) {
        if (file.mode != OpenMode::Append) {
            continue;
        }
        auto opened = open_regular(file.path, OpenMode::Append);
        if (!opened) {
            // A link or a device (such as /dev/stdout) belongs to someone else.
            if (opened.error() != ELOOP && opened.error() != EACCES) {
                log.print(LogLevel::Emerg, 0, "open() \"{}\" failed {}", file.path,
                          errno_text(opened.error()));
            }
            continue;
        }
        struct stat info{};
        if (::geteuid() != 0 || account.uid == 0 || ::fstat(opened->get(), &info) != 0) {
            continue;
        }
        if (info.st_uid != account.uid &&
            ::fchown(opened->get(), account.uid, static_cast<gid_t>(-1)) != 0) {
            log.print(LogLevel::Emerg, 0, "chown(\"{}\", {}) failed {}", file.path, account.uid,
                      errno_text(errno));
        }
        if ((info.st_mode & (S_IRUSR | S_IWUSR)) != (S_IRUSR | S_IWUSR) &&
            ::fchmod(opened->get(), info.st_mode | S_IRUSR | S_IWUSR) != 0) {
            log.print(LogLevel::Emerg, 0, "chmod() \"{}\" failed {}", file.path, errno_text(errno));
        }
    }
}

}  // namespace moongate::app
