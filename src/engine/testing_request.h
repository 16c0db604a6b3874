// For unit tests: a Request on an Exchange that is made of plain members. Not part of the product.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "conf/compiled_string.h"
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/testing.h"
#include "engine/worker_state.h"
#include "http/uri.h"

namespace moongate::engine::testing {

class FakeExchange final : public http::Exchange {
public:
    FakeExchange() {
        head_.headers.bind(arena_);
        trailers.bind(arena_);
    }

    Arena& arena() override { return arena_; }
    http::RequestHead& head() override { return head_; }
    std::string_view raw_head() const override { return {}; }
    const http::RequestFraming& framing() const override { return framing_; }
    const http::HeadFailure& head_failure() const override { return failure_; }
    http::ConnectionInfo& connection() override { return connection_; }
    std::string_view protocol() const override { return "HTTP/1.1"; }
    std::uint64_t request_bytes() const override { return 123; }
    async::Task<Result<std::size_t>> read_body(char* to, std::size_t room, Milliseconds) override {
        if (body.empty()) {
            if (failure) {
                co_return *failure;
            }
            ended = true;
            co_return std::size_t{0};
        }
        const std::size_t size = std::min(room, body.front().size());
        std::memcpy(to, body.front().data(), size);
        body.front().erase(0, size);
        if (body.front().empty()) {
            body.pop_front();
        }
        received += size;
        if (limit != 0 && received > limit) {
            co_return Error{.kind = ErrorKind::TooLarge};
        }
        ended = body.empty() && !failure;
        co_return size;
    }
    bool body_ended() const override { return ended; }
    void limit_body(std::uint64_t bytes) override { limit = bytes; }
    const http::HeaderList& request_trailers() const override { return trailers; }
    async::Task<Status> send_informational(int, const http::HeaderList&) override {
        co_return Status();
    }
    void start_response(const http::ResponseStart&) override {}
    async::Task<Status> write(std::span<const http::BodyPart>, http::WriteFlags,
                              Milliseconds) override {
        co_return Status();
    }
    void set_trailers(const http::HeaderList*) override {}
    bool response_started() const override { return false; }
    std::uint64_t bytes_sent() const override { return 456; }
    std::uint64_t body_bytes_sent() const override { return 400; }
    void abort() override {}
    void disable_keep_alive() override {}
    bool may_keep_alive() const override { return true; }
    void set_policy(const http::ConnectionPolicy&) override {}
    bool peer_closed() const override { return false; }
    void watch_peer(void (*)(void*), void*) override {}
    Raw take_over() override { return {nullptr, {}}; }

    std::deque<std::string> body;  // what each read gives at most
    std::optional<Error> failure;  // behind the body; unset: its end
    std::uint64_t limit = 0;
    std::uint64_t received = 0;
    bool ended = false;
    http::HeaderList trailers;
    http::RequestFraming framing_;
    http::ConnectionInfo connection_;

private:
    Arena arena_;
    http::RequestHead head_;
    http::HeadFailure failure_;
};

// A request in the first location of the first server of a configuration.
class RequestFixture : public ::testing::Test {
protected:
    void make(std::string_view server, std::string_view target,
              std::initializer_list<std::pair<std::string_view, std::string_view>> headers = {}) {
        compiled_ = compile_server(server);
        ASSERT_NE(compiled_.snapshot, nullptr) << compiled_.error;
        exchange_ = std::make_unique<FakeExchange>();
        auto& head = exchange_->head();
        head.method = http::Method::Get;
        head.method_text = "GET";
        head.uri = exchange_->arena().copy(target);
        head.request_line = exchange_->arena().concat("GET ", target, " HTTP/1.1");
        for (const auto& [name, value] : headers) {
            head.headers.add(name, value);
        }
        const Server& chosen = compiled_.snapshot->addresses().front()->hosts.default_server();
        request_ = std::make_unique<Request>(state_, *compiled_.snapshot, *exchange_, chosen);
        const auto uri = http::normalize_uri(head.uri, true, exchange_->arena());
        ASSERT_TRUE(uri);
        request_->uri = uri->path;
        request_->args = uri->args;
        if (!chosen.owned.empty()) {
            request_->location = chosen.owned.front().get();
        }
    }
    // The value of $NAME, "<none>" where it has none.
    std::string value(std::string_view name) {
        conf::VariableValue storage;
        const auto& found = request_->by_name(name, storage);
        return found.not_found ? "<none>" : std::string(found.text());
    }
    Status run(async::Task<Status> task) {
        task.arm(std::noop_coroutine()).resume();
        EXPECT_TRUE(task.done());
        return task.take_result();
    }

    async::Worker worker_{0, 1};
    WorkerState state_{worker_};
    Compiled compiled_;
    std::unique_ptr<FakeExchange> exchange_;
    std::unique_ptr<Request> request_;
};

}  // namespace moongate::engine::testing
