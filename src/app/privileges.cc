#include "app/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace moongate::app {
namespace {

std::string lookup_error(std::string_view call, const std::string& name, int error) {
    std::string text = fmt::format("{}(\"{}\") failed", call, name);
    if (error != 0) {
        text += " " + errno_text(error);
    }
    return text;
}

void set_limit(__rlimit_resource resource, std::string_view name, std::uint64_t value,
               const Log& log) {
    const rlimit limit{value, value};
    if (::setrlimit(resource, &limit) != 0) {
        log.print(LogLevel::Alert, 0, "setrlimit({}, {}) failed {}", name, value,
                  errno_text(errno));
    }
}

}  // namespace

std::expected<Account, std::string> resolve_account(const std::string& user,
                                                    const std::string& group) {
    errno = 0;
    const passwd* by_name = ::getpwnam(user.c_str());
    if (by_name == nullptr) {
        return std::unexpected(lookup_error("getpwnam", user, errno));
    }
    Account account{.user = user, .uid = by_name->pw_uid};
    const std::string& group_name = group.empty() ? user : group;
    errno = 0;
    const ::group* by_group = ::getgrnam(group_name.c_str());
    if (by_group == nullptr) {
        return std::unexpected(lookup_error("getgrnam", group_name, errno));
    }
    account.gid = by_group->gr_gid;
    return account;
}

std::expected<Account, std::string> default_account() {
    return resolve_account("nobody", ::getgrnam("nogroup") != nullptr ? "nogroup" : "nobody");
}

void apply_process_limits(const ProcessConfig& config, const Log& log) {
    if (config.priority != 0 && ::setpriority(PRIO_PROCESS, 0, config.priority) != 0) {
        log.print(LogLevel::Alert, 0, "setpriority({}) failed {}", config.priority,
                  errno_text(errno));
    }
    if (config.open_files_limit) {
        set_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", *config.open_files_limit, log);
    }
    if (config.core_bytes_limit) {
        set_limit(RLIMIT_CORE, "RLIMIT_CORE", *config.core_bytes_limit, log);
    }
}

bool drop_privileges(const ProcessConfig& config, const Log& log) {
    const Account& account = config.account;
    if (::geteuid() == 0) {
        if (::setgid(account.gid) != 0) {
            log.print(LogLevel::Emerg, 0, "setgid({}) failed {}", account.gid, errno_text(errno));
            return false;
        }
        if (::initgroups(account.user.c_str(), account.gid) != 0) {
            log.print(LogLevel::Emerg, 0, "initgroups({}, {}) failed {}", account.user, account.gid,
                      errno_text(errno));
            return false;  // it would keep root's groups
        }
        if (::setuid(account.uid) != 0) {
            log.print(LogLevel::Emerg, 0, "setuid({}) failed {}", account.uid, errno_text(errno));
            return false;
        }
        // The kernel made the process undumpable with setuid(), which also keeps its memory (keys)
        // from other processes of the account. Only who asks for core files gives that up.
        if (account.uid != 0 && config.core_bytes_limit.value_or(0) > 0 &&
            ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) {
            log.print(LogLevel::Alert, 0, "prctl(PR_SET_DUMPABLE) failed {}", errno_text(errno));
        }
    }
    if (!config.working_directory.empty() && ::chdir(config.working_directory.c_str()) != 0) {
        log.print(LogLevel::Alert, 0, "chdir(\"{}\") failed {}", config.working_directory,
                  errno_text(errno));
        return false;
    }
    return true;
}

std::vector<std::string> select_environment(const std::vector<std::string>& directives) {
    std::vector<std::string> selected;
    bool zone_named = false;
    const auto keep = [&selected](const std::string& name) {
        if (const char* value = ::getenv(name.c_str()); value != nullptr) {
            selected.push_back(fmt::format("{}={}", name, value));
        }
    };
    for (const std::string& directive : directives) {
        zone_named = zone_named || directive == "TZ" || directive.starts_with("TZ=");
        if (directive.find('=') != std::string::npos) {
            selected.push_back(directive);
        } else {
            keep(directive);
        }
    }
    if (!zone_named) {
        keep("TZ");
    }
    return selected;
}

void apply_environment(const std::vector<std::string>& directives) {
    const std::vector<std::string> selected = select_environment(directives);
    ::clearenv();
    for (const std::string& variable : selected) {
        const std::size_t equals = variable.find('=');
        // As in nginx's array of variables, the first of two equal names is the one that is found.
        ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 0);
    }
}

}  // namespace moongate::app
