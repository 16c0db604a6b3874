#include "app/process_title.h"

#include <unistd.h>

#include <cstring>

namespace moongate::app {
namespace {

// The kernel's area of this process's arguments and environment: process-wide by nature.
std::span<char> title_area;
// The environment's new home, held for the life of the process even where `environ` moves on.
char** moved_environment = nullptr;

}  // namespace

void prepare_process_title(std::span<char* const> arguments) {
    if (arguments.empty()) {
        return;
    }
    char* begin = arguments.front();
    char* end = begin;
    for (char* argument : arguments) {
        if (argument == end) {
            end += std::strlen(argument) + 1;
        }
    }
    std::size_t count = 0;
    while (environ[count] != nullptr) {
        if (environ[count] == end) {
            end += std::strlen(environ[count]) + 1;
        }
        ++count;
    }
    moved_environment = new char*[count + 1];
    for (std::size_t i = 0; i < count; ++i) {
        moved_environment[i] = ::strdup(environ[i]);
    }
    moved_environment[count] = nullptr;
    environ = moved_environment;
    title_area = {begin, end};
}

void set_process_title(std::string_view title) {
    if (title_area.empty()) {
        return;
    }
    const std::size_t bytes = std::min(title.size(), title_area.size() - 1);
    std::memcpy(title_area.data(), title.data(), bytes);
    std::memset(title_area.data() + bytes, 0, title_area.size() - bytes);
}

}  // namespace moongate::app
