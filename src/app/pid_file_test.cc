#include "app/pid_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "app/privileges.h"

namespace moongate::app {
namespace {

class MemorySink final : public LogSink {
public:
    void write(LogLevel, std::string_view line) override { text += line; }
    std::string text;
};

class PidFileTest : public testing::Test {
protected:
    PidFileTest() {
        char name[] = "/tmp/moongate-pid-XXXXXX";
        directory_ = ::mkdtemp(name);
        path_ = directory_ + "/nginx.pid";
    }
    ~PidFileTest() override {
        ::unlink(path_.c_str());
        ::rmdir(directory_.c_str());
    }
    void put(const std::string& text) { std::ofstream(path_) << text; }

    std::string directory_;
    std::string path_;
    std::shared_ptr<MemorySink> sink_ = std::make_shared<MemorySink>();
    Log log_{{{sink_, LogLevel::Debug}}};
};

TEST_F(PidFileTest, ReadsWhatItWrote) {
    ASSERT_TRUE(write_pid_file(path_, 12345, log_));
    EXPECT_EQ(read_pid_file(path_, log_), 12345);
    EXPECT_TRUE(test_pid_file(path_, log_));
    EXPECT_EQ(read_pid_file(path_, log_), 12345);
    delete_pid_file(path_, log_);
    EXPECT_EQ(::access(path_.c_str(), F_OK), -1);
    EXPECT_EQ(sink_->text, "");
}

TEST_F(PidFileTest, ShorterPidReplacesALongerOne) {
    ASSERT_TRUE(write_pid_file(path_, 1234567, log_));
    ASSERT_TRUE(write_pid_file(path_, 12, log_));
    EXPECT_EQ(read_pid_file(path_, log_), 12);
}

TEST_F(PidFileTest, WhatIsNoPidIsNeverSignalled) {
    for (const char* text :
         {"", "\n", "abc\n", "-1\n", "0\n", "1\n", "12 34\n", "99999999999999999999\n"}) {
        put(text);
        EXPECT_EQ(signal_process(path_, "stop", log_), 1) << text;
    }
    EXPECT_THAT(sink_->text,
                testing::HasSubstr(fmt::format(
                    "[error] {0}#{0}: invalid PID number \"\" in \"{1}\"\n", ::getpid(), path_)));
}

TEST_F(PidFileTest, SignalSaysWhyItFailed) {
    EXPECT_EQ(signal_process(path_, "reload", log_), 1);
    EXPECT_THAT(sink_->text, testing::HasSubstr(fmt::format(
                                 "open() \"{}\" failed (2: No such file or directory)", path_)));
    put("4194304\n");  // above the kernel's largest
    EXPECT_EQ(signal_process(path_, "reload", log_), 1);
    EXPECT_THAT(sink_->text, testing::HasSubstr("kill(4194304, 1) failed (3: No such process)"));
}

TEST(Environment, KeepsOnlyWhatIsNamedAndTheTimeZone) {
    ::setenv("MOONGATE_TEST_A", "a=1", 1);
    ::setenv("TZ", "UTC", 1);
    EXPECT_EQ(select_environment({"MOONGATE_TEST_A", "MOONGATE_TEST_NONE", "B=2"}),
              (std::vector<std::string>{"MOONGATE_TEST_A=a=1", "B=2", "TZ=UTC"}));
    EXPECT_EQ(select_environment({"TZ=CET"}), (std::vector<std::string>{"TZ=CET"}));
    ::unsetenv("TZ");
    ::unsetenv("MOONGATE_TEST_A");
}

TEST(Account, UnknownNamesHaveNginxWording) {
    EXPECT_EQ(resolve_account("no-such-user", "").error(), "getpwnam(\"no-such-user\") failed");
    EXPECT_EQ(resolve_account("root", "no-such-group").error(),
              "getgrnam(\"no-such-group\") failed");
    const auto root = resolve_account("root", "");
    ASSERT_TRUE(root);
    EXPECT_EQ(root->uid, 0U);
    EXPECT_TRUE(default_account());
}

}  // namespace
}  // namespace moongate::app
