// The floor for answers made by the server itself: reads until a blank line, sends a fixed 200,
// keeps the connection. It looks for CR LF CR LF and at nothing else. Usage: floor_responder PORT
// [BODY]
#include "floor.h"

using namespace floor_program;

namespace {

struct Connection {
    int fd;
    int matched = 0;  // bytes of "\r\n\r\n" seen at the end of what came so far
};

// The number of blank lines that end in `bytes`.
int count_heads(Connection& connection, std::string_view bytes) {
    constexpr std::string_view kEnd = "\r\n\r\n";
    if (connection.matched == 0 && bytes.ends_with(kEnd) &&
        bytes.find(kEnd) == bytes.size() - kEnd.size()) {
        return 1;
    }
    int heads = 0;
    for (const char c : bytes) {
        if (c == kEnd[static_cast<std::size_t>(connection.matched)]) {
            if (++connection.matched == 4) {
                connection.matched = 0;
                ++heads;
            }
        } else {
            connection.matched = c == '\r' ? 1 : 0;
        }
    }
    return heads;
}

// False when the connection is over.
bool serve(Connection& connection, std::string_view response) {
    char buffer[kBufferBytes];
    for (;;) {
        const ssize_t got = recv(connection.fd, buffer, sizeof buffer, 0);
        if (got <= 0) {
            return got < 0 && errno == EAGAIN;
        }
        for (int heads = count_heads(connection, {buffer, static_cast<std::size_t>(got)});
             heads > 0; --heads) {
            if (send(connection.fd, response.data(), response.size(), 0) !=
                static_cast<ssize_t>(response.size())) {
                return false;
            }
        }
        // A read that did not fill the buffer emptied the socket; the next edge tells of more.
        if (static_cast<std::size_t>(got) < sizeof buffer) {
            return true;
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: floor_responder PORT [BODY]\n");
        return 2;
    }
    const std::string body = argc > 2 ? argv[2] : "ok\n";
    const std::string response =
        "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        "Content-Type: text/plain\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\nConnection: keep-alive\r\n\r\n" + body;

    const int listener = listen_on(argv[1]);
    const int poll = epoll_create1(0);
    watch(poll, listener, nullptr, EPOLLIN);
    epoll_event events[kEventsMax];
    for (;;) {
        const int count = epoll_wait(poll, events, kEventsMax, -1);
        for (int i = 0; i < count; ++i) {
            auto* connection = static_cast<Connection*>(events[i].data.ptr);
            if (connection != nullptr) {
                const bool over = (events[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0;
                if (!serve(*connection, response) || over) {
                    close(connection->fd);
                    delete connection;
                }
                continue;
            }
            for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                no_delay(fd);
                watch(poll, fd, new Connection{fd}, EPOLLIN);
            }
        }
    }
}
