// The supervisor with real processes, signals and sockets on loopback. The test program runs itself
// as the server: with "-p" as its first argument it is the program under test with TestEngine in
// it, so that an upgrade can execute it as any binary. The test is a subreaper: what daemonizes or
// outlives its parent comes back to it.
#include "app/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "app/application.h"
#include "app/test_engine.h"

namespace moongate::app {
namespace {

using testing::HasSubstr;
using testing::Not;
using Clockwork = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{10};

template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds patience = kPatience) {
    const auto end = Clockwork::now() + patience;
    while (!condition()) {
        if (Clockwork::now() >= end) {
            return false;
        }
        ::usleep(1000);
    }
    return true;
}

// Never 0 or below, which would be this process's own group, or everyone.
void send_signal(pid_t pid, int number) {
    if (pid > 1) {
        ::kill(pid, number);
    } else {
        ADD_FAILURE() << "no process to send signal " << number << " to";
    }
}

class Client {
public:
    explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        sockaddr_in address{
            .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        connected_ =
            ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }

    bool connected() const { return connected_; }
    void send(const std::string& line) {
        const std::string text = line + "\n";
        (void)::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
    // Empty where the connection ended.
    std::string receive() {
        std::string line;
        char byte = 0;
        while (::recv(fd_.get(), &byte, 1, 0) == 1) {
            if (byte == '\n') {
                return line;
            }
            line.push_back(byte);
        }
        return {};
    }
    std::string ask(const std::string& line) {
        send(line);
        return receive();
    }

private:
    UniqueFd fd_;
    bool connected_ = false;
};

// Connects, asks and closes, over and over, from a thread of its own.
class Load {
public:
    explicit Load(std::uint16_t port) : thread_([this, port] { run(port); }) {}
    ~Load() { stop(); }
    void stop() {
        ending_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    int asked() const { return asked_; }
    int refused() const { return refused_; }
    int unanswered() const { return unanswered_; }

private:
    void run(std::uint16_t port) {
        while (!ending_) {
            Client client(port);
            if (!client.connected()) {
                ++refused_;
            } else if (client.ask("who").empty()) {
                ++unanswered_;
            }
            ++asked_;
        }
    }

    std::atomic<bool> ending_{false};
    std::atomic<int> asked_{0};
    std::atomic<int> refused_{0};
    std::atomic<int> unanswered_{0};
    std::thread thread_;
};

std::uint16_t free_port() {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), bytes);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &bytes);
    return ntohs(address.sin_port);
}

class SupervisorTest : public testing::Test {
protected:
    void SetUp() override {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        char name[] = "/tmp/moongate-app-XXXXXX";
        prefix_ = std::string(::mkdtemp(name)) + "/";
        ::chmod(prefix_.c_str(), 0755);
        port_ = free_port();
    }

    void TearDown() override {
        for (pid_t pid : started_) {
            send_signal(pid, SIGKILL);
        }
        // What a supervisor left behind has come to this process.
        EXPECT_TRUE(eventually([] {
            std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
            for (pid_t child = 0; children >> child;) {
                send_signal(child, SIGKILL);
            }
            while (::waitpid(-1, nullptr, WNOHANG) > 0) {
            }
            return ::waitpid(-1, nullptr, WNOHANG) < 0;
        }));
        if (!HasFailure()) {
            std::system(fmt::format("rm -r {}", prefix_).c_str());
        }
    }

    void configure(const std::string& lines) {
        std::ofstream(prefix_ + "x.conf") << fmt::format("listen {}\n", port_) << lines << "\n";
    }

    std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
        char self[4096] = {};
        (void)!::readlink("/proc/self/exe", self, sizeof self - 1);
        std::vector<std::string> result{self, "-p", prefix_, "-c", "x.conf", "-e", "early.log"};
        result.insert(result.end(), more.begin(), more.end());
        return result;
    }

    // Starts the program; its standard error goes to PREFIX/stderr.
    pid_t spawn(const std::vector<std::string>& argv) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            const std::string path = prefix_ + "stderr";
            ::dup2(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644), STDERR_FILENO);
            std::vector<char*> pointers;
            for (const std::string& argument : argv) {
                pointers.push_back(const_cast<char*>(argument.c_str()));
            }
            pointers.push_back(nullptr);
            ::execv(pointers[0], pointers.data());
            ::_exit(127);
        }
        return pid;
    }

    // Runs it to its end.
    int run(std::vector<std::string> more) {
        int status = 0;
        ::waitpid(spawn(arguments(std::move(more))), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    pid_t start(const std::string& lines) {
        configure(lines);
        const pid_t pid = spawn(arguments());
        started_.push_back(pid);
        EXPECT_TRUE(eventually([this, pid] { return pid_in("nginx.pid") == pid; }))
            << file("stderr");
        return pid;
    }

    bool exits(pid_t pid, int expected = 0) {
        int status = 0;
        const bool gone = eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; });
        std::erase(started_, pid);
        return gone && WIFEXITED(status) && WEXITSTATUS(status) == expected;
    }

    std::string file(const std::string& name) const {
        std::stringstream content;
        content << std::ifstream(prefix_ + name).rdbuf();
        return content.str();
    }
    // 0 where the file is absent or not complete.
    pid_t pid_in(const std::string& name) const {
        const std::string text = file(name);
        return text.ends_with('\n')
                   ? parse_number<pid_t>(trim(text.substr(0, text.size() - 1))).value_or(0)
                   : 0;
    }
    // The supervisor that wrote the pid file after `old` did; 0: none came.
    pid_t upgraded(pid_t old) const {
        pid_t now = 0;
        const bool came = eventually([&] {
            now = pid_in("nginx.pid");  // read once: the file is absent for a moment
            return now != 0 && now != old;
        });
        return came ? now : 0;
    }
    bool logged(const std::string& text) {
        return eventually([&] { return file("error.log").find(text) != std::string::npos; });
    }
    // "PID TEXT" of the engine that answers now.
    std::string who() const { return Client(port_).ask("who"); }
    pid_t engine_pid() const {
        const std::string answer = who();
        return parse_number<pid_t>(answer.substr(0, answer.find(' '))).value_or(0);
    }
    bool serves(const std::string& text) const {
        return eventually([&] { return who().ends_with(" " + text); });
    }

    std::string prefix_;
    std::uint16_t port_ = 0;
    std::vector<pid_t> started_;
};

TEST_F(SupervisorTest, ServesWritesItsPidAndStopsOnTerm) {
    const pid_t pid = start("text one");
    EXPECT_TRUE(serves("one"));
    EXPECT_NE(engine_pid(), pid);
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
    EXPECT_EQ(::access((prefix_ + "nginx.pid").c_str(), F_OK), -1);
    const std::string log = file("error.log");
    for (const char* line :
         {"[notice]", "using the \"epoll\" event method", "nginx/1.31.5", "built by clang",
          "OS: Linux", "getrlimit(RLIMIT_NOFILE): ", "start worker processes",
          "start worker process ", "signal 15 (SIGTERM) received from ", "exited with code 0",
          ": exit\n"}) {
        EXPECT_THAT(log, HasSubstr(line));
    }
}

TEST_F(SupervisorTest, KilledEngineIsReplacedWithoutARefusedConnection) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    Load load(port_);
    for (int round = 0; round < 3; ++round) {
        const pid_t engine = engine_pid();
        ASSERT_GT(engine, 0);
        const auto killed = Clockwork::now();
        send_signal(engine, SIGKILL);
        // The queue of the listening socket holds who comes in between: a later answer, never a
        // refusal.
        pid_t next = engine;
        ASSERT_TRUE(eventually([&] {
            next = engine_pid();
            return next != engine && next != 0;
        }));
        const auto took =
            std::chrono::duration_cast<std::chrono::milliseconds>(Clockwork::now() - killed);
        RecordProperty(fmt::format("restart_ms_{}", round), static_cast<int>(took.count()));
        ASSERT_TRUE(logged(fmt::format("worker process {} exited on signal 9", engine)));
    }
    load.stop();
    EXPECT_EQ(load.refused(), 0);
    EXPECT_GT(load.asked(), 0);
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, ReloadKeepsTheProcessItsConnectionsAndEveryRequest) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const pid_t engine = engine_pid();
    Client kept(port_);
    ASSERT_EQ(kept.ask("who"), fmt::format("{} one", engine));
    Load load(port_);
    for (int round = 0; round < 20; ++round) {
        configure(fmt::format("text round{}", round));
        send_signal(pid, SIGHUP);
        ASSERT_TRUE(serves(fmt::format("round{}", round)));
    }
    load.stop();
    EXPECT_EQ(load.refused() + load.unanswered(), 0);
    EXPECT_EQ(kept.ask("who"), fmt::format("{} round19", engine));
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
    EXPECT_THAT(file("error.log"), HasSubstr("signal 1 (SIGHUP) received from "));
    EXPECT_THAT(file("error.log"), HasSubstr("reconfiguring"));
}

TEST_F(SupervisorTest, ReloadOpensNewAddressesAndClosesOldOnes) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const std::uint16_t old_port = port_;
    const pid_t engine = engine_pid();
    port_ = free_port();
    configure("text two");
    send_signal(pid, SIGHUP);
    ASSERT_TRUE(serves("two"));
    EXPECT_EQ(engine_pid(), engine);
    EXPECT_TRUE(eventually([&] { return !Client(old_port).connected(); }));
    // The engine that is started after a crash gets the new set too.
    send_signal(engine, SIGKILL);
    EXPECT_TRUE(eventually([&] { return engine_pid() != engine && engine_pid() != 0; }));
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, BadReloadChangesNothing) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const pid_t engine = engine_pid();
    configure("text two\nbad nonsense");
    send_signal(pid, SIGHUP);
    EXPECT_TRUE(logged("[emerg] "));
    EXPECT_TRUE(logged(fmt::format("unknown directive \"nonsense\" in {}x.conf:1", prefix_)));
    EXPECT_EQ(who(), fmt::format("{} one", engine));

    const std::uint16_t other = free_port();
    configure(fmt::format("listen {}\ntext two\nengine_refuses this", other));
    send_signal(pid, SIGHUP);
    EXPECT_TRUE(logged("unknown directive \"this\""));
    EXPECT_EQ(who(), fmt::format("{} one", engine));
    EXPECT_TRUE(eventually([&] { return !Client(other).connected(); }));

    configure("text three");
    send_signal(pid, SIGHUP);
    EXPECT_TRUE(serves("three"));
    EXPECT_EQ(engine_pid(), engine);
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, ReloadWithAnotherEnvironmentMovesToAnotherEngine) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const pid_t engine = engine_pid();
    Load load(port_);
    configure("text two\nenv COLOUR=green");
    send_signal(pid, SIGHUP);
    ASSERT_TRUE(serves("two"));
    EXPECT_TRUE(logged(fmt::format("worker process {} exited with code 0", engine)));
    load.stop();
    EXPECT_EQ(load.refused(), 0);
    EXPECT_EQ(Client(port_).ask("env COLOUR"), "green");
    EXPECT_EQ(Client(port_).ask("env PATH"), "(unset)");
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, QuitFinishesWhatIsRunningAndRefusesWhatIsNew) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    Client slow(port_);
    slow.send("slow 400");
    ASSERT_FALSE(who().empty());  // the engine has read past the slow request by now
    send_signal(pid, SIGQUIT);
    EXPECT_TRUE(logged("gracefully shutting down"));
    EXPECT_TRUE(
        eventually([&] { return !Client(port_).connected(); }, std::chrono::milliseconds(300)));
    EXPECT_EQ(slow.receive(), "one");
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, WinchStopsTheEngineAndHupBringsItBack) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const pid_t engine = engine_pid();
    send_signal(pid, SIGWINCH);
    ASSERT_TRUE(logged(fmt::format("worker process {} exited with code 0", engine)));
    EXPECT_EQ(::kill(pid, 0), 0);
    send_signal(pid, SIGHUP);
    EXPECT_TRUE(serves("one"));
    EXPECT_NE(engine_pid(), engine);
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, UpgradeHandsTheSocketsOver) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    Load load(port_);
    configure("text two");
    send_signal(pid, SIGUSR2);
    const pid_t fresh = upgraded(pid);
    ASSERT_NE(fresh, 0);
    started_.push_back(fresh);
    EXPECT_EQ(pid_in("nginx.pid.oldbin"), pid);
    EXPECT_THAT(file("early.log"), HasSubstr("using inherited sockets from \""));
    send_signal(pid, SIGWINCH);
    ASSERT_TRUE(logged(fmt::format("{}: signal 28 (SIGWINCH)", pid)));
    ASSERT_TRUE(logged("gracefully shutting down"));
    ASSERT_TRUE(serves("two"));
    send_signal(pid, SIGQUIT);
    ASSERT_TRUE(exits(pid));
    EXPECT_EQ(::access((prefix_ + "nginx.pid.oldbin").c_str(), F_OK), -1);
    EXPECT_EQ(pid_in("nginx.pid"), fresh);
    EXPECT_TRUE(serves("two"));
    load.stop();
    EXPECT_EQ(load.refused(), 0);
    send_signal(fresh, SIGTERM);
    EXPECT_TRUE(exits(fresh));
}

TEST_F(SupervisorTest, NewBinaryThatFailsGivesThePidFileBack) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    configure("text two\nbad nonsense");
    send_signal(pid, SIGUSR2);
    ASSERT_TRUE(logged("new binary process"));
    ASSERT_TRUE(logged("exited with code 1"));
    EXPECT_TRUE(eventually([&] { return pid_in("nginx.pid") == pid; }));
    EXPECT_TRUE(serves("one"));
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, SecondUpgradeIsIgnoredWhileTheFirstIsUnderWay) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    send_signal(pid, SIGUSR2);
    const pid_t fresh = upgraded(pid);
    ASSERT_NE(fresh, 0);
    started_.push_back(fresh);
    send_signal(fresh, SIGUSR2);
    EXPECT_TRUE(logged("the changing binary signal is ignored"));
    send_signal(fresh, SIGTERM);
    EXPECT_TRUE(logged(fmt::format("new binary process {} exited with code 0", fresh)));
    std::erase(started_, fresh);
    EXPECT_TRUE(eventually([&] { return pid_in("nginx.pid") == pid; }));
    EXPECT_TRUE(serves("one"));
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, AnExitBeforeAnythingWasServedEndsTheProgram) {
    for (const char* code : {"1", "2"}) {
        configure(fmt::format("text one\nexit {}", code));
        const pid_t pid = spawn(arguments());  // its pid file may be gone before it is seen
        started_.push_back(pid);
        EXPECT_TRUE(exits(pid, 1));
        EXPECT_THAT(file("error.log"), HasSubstr(fmt::format("exited with code {}", code)));
        EXPECT_THAT(file("error.log"), HasSubstr("the worker process could not start"));
        EXPECT_EQ(pid_in("nginx.pid"), 0);
    }
}

TEST_F(SupervisorTest, ADaemonThatCannotServeFailsItsStart) {
    configure("text one\ndaemon on\nexit 2");
    EXPECT_EQ(run({}), 1);
    EXPECT_THAT(file("stderr"), HasSubstr("nginx: [emerg] the worker process could not start\n"));
    EXPECT_TRUE(eventually([&] { return pid_in("nginx.pid") == 0; }));
}

TEST_F(SupervisorTest, AFatalExitOfAnEngineThatServedIsNotFollowedByAnother) {
    const pid_t pid = start("text one\nexit_ready 2");
    EXPECT_TRUE(logged("exited with fatal code 2 and cannot be respawned"));
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, EngineThatKeepsDyingIsNotRestartedInALoop) {
    const pid_t pid = start("text one\nexit_ready 1");
    EXPECT_TRUE(logged("starting it again after 200ms"));
    const std::string log = file("error.log");
    std::size_t starts = 0;
    for (std::size_t at = 0; (at = log.find("start worker process ", at)) != std::string::npos;
         ++at) {
        ++starts;
    }
    EXPECT_LE(starts, 6U);
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, EngineEndsWithItsSupervisor) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    const pid_t engine = engine_pid();
    send_signal(pid, SIGKILL);
    std::erase(started_, pid);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(eventually([&] { return ::waitpid(engine, &status, WNOHANG) == engine; }));
}

TEST_F(SupervisorTest, DaemonLeavesAndReportsWhetherItServes) {
    configure("text one\ndaemon on");
    EXPECT_EQ(run({}), 0);
    const pid_t pid = upgraded(0);
    ASSERT_NE(pid, 0);
    started_.push_back(pid);
    EXPECT_EQ(::getsid(pid), pid);
    EXPECT_TRUE(serves("one"));
    EXPECT_EQ(run({"-s", "quit"}), 0);
    EXPECT_TRUE(exits(pid));
    EXPECT_EQ(run({"-s", "stop"}), 1);
    EXPECT_THAT(file("stderr"), Not(HasSubstr("[emerg]")));
    EXPECT_THAT(file("early.log"), HasSubstr("nginx.pid\" failed (2: No such file or directory)"));
}

TEST_F(SupervisorTest, SingleProcessServesReloadsAndStops) {
    const pid_t pid = start("text one\nmaster off");
    ASSERT_TRUE(serves("one"));
    EXPECT_EQ(engine_pid(), pid);
    configure("text two\nmaster off");
    send_signal(pid, SIGHUP);
    EXPECT_TRUE(serves("two"));
    send_signal(pid, SIGQUIT);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, LogsAreReopenedByBoth) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    ::rename((prefix_ + "error.log").c_str(), (prefix_ + "error.log.1").c_str());
    send_signal(pid, SIGUSR1);
    // Both say so in the old file, then open the new one; which of them creates it does not matter.
    ASSERT_TRUE(eventually([&] {
        const std::string old = file("error.log.1");
        return old.find("reopening logs\n") != old.rfind("reopening logs\n") &&
               ::access((prefix_ + "error.log").c_str(), F_OK) == 0;
    }));
    const pid_t engine = engine_pid();
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
    EXPECT_THAT(file("error.log"), HasSubstr(fmt::format("{0}#{0}: exit\n", pid)));
    EXPECT_THAT(file("error.log"), HasSubstr(fmt::format("{0}#{0}: exit\n", engine)));
}

TEST_F(SupervisorTest, AddressInUseIsReportedAfterFiveTries) {
    const pid_t pid = start("text one");
    ASSERT_TRUE(serves("one"));
    EXPECT_EQ(run({}), 1);
    const std::string text = file("stderr");
    EXPECT_THAT(
        text,
        HasSubstr(fmt::format(
            "nginx: [emerg] bind() to 127.0.0.1:{} failed (98: Address already in use)", port_)));
    EXPECT_THAT(text, HasSubstr("nginx: [emerg] still could not bind()"));
    EXPECT_EQ(pid_in("nginx.pid"), pid);
    EXPECT_EQ(run({"-t"}), 0);  // the server that holds the address may be this one
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

TEST_F(SupervisorTest, TestOptionChecksAndDumps) {
    configure("text one");
    EXPECT_EQ(run({"-t"}), 0);
    EXPECT_EQ(file("stderr"),
              fmt::format("nginx: the configuration file {0}x.conf syntax is ok\n"
                          "nginx: configuration file {0}x.conf test is successful\n",
                          prefix_));
    EXPECT_EQ(run({"-t", "-q"}), 0);
    configure("bad nonsense");
    EXPECT_EQ(run({"-t"}), 1);
    EXPECT_THAT(
        file("stderr"),
        HasSubstr(fmt::format(
            "test is successful\nnginx: [emerg] unknown directive \"nonsense\" in {0}x.conf:1\n"
            "nginx: configuration file {0}x.conf test failed\n",
            prefix_)));
}

TEST_F(SupervisorTest, EngineOpensOnlyWhatTheConfigurationNames) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root to drop privileges";
    }
    const auto secret = [this](const std::string& name) {
        std::ofstream(prefix_ + name) << name << " content\n";
        ::chmod((prefix_ + name).c_str(), 0600);
        return prefix_ + name;
    };
    const std::string named = secret("named");
    const std::string other = secret("other");
    const pid_t pid = start(fmt::format("text one\nuser nobody\nnames {}", named));
    ASSERT_TRUE(serves("one"));
    EXPECT_EQ(Client(port_).ask("open " + named), "named content");
    EXPECT_EQ(Client(port_).ask("open " + other), fmt::format("errno {}", EACCES));
    EXPECT_TRUE(logged("asked for a file that the configuration does not name"));
    // Its log belongs to root, yet a reload opens it again.
    configure(fmt::format("text two\nuser nobody\nnames {}", other));
    const pid_t engine = engine_pid();
    send_signal(pid, SIGHUP);
    ASSERT_TRUE(serves("two"));
    EXPECT_EQ(engine_pid(), engine);
    EXPECT_EQ(Client(port_).ask("open " + other), "other content");
    send_signal(pid, SIGTERM);
    EXPECT_TRUE(exits(pid));
}

}  // namespace
}  // namespace moongate::app

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view(argv[1]) == "-p") {
        moongate::app::TestEngine engine;
        return moongate::app::run_application({argv, static_cast<std::size_t>(argc)}, engine, {});
    }
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
