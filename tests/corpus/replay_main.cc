// Runs a fuzz target over its seed corpus without libFuzzer, as an ordinary test: `TARGET PATH…`,
// where a path is a file or a folder. Each input is given whole, and inputs of up to 2 KiB also cut
// after every byte, each time in a heap block of exactly that size, so that AddressSanitizer sees a
// read of one byte too many. One thread. A missing or empty corpus is a failure: a target without
// seeds would otherwise pass for ever.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

constexpr std::size_t kCutBytesMax = 2048;

void run_exact(const std::string& input, std::size_t bytes) {
    const std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[bytes]);
    if (bytes != 0) {
        std::memcpy(copy.get(), input.data(), bytes);
    }
    LLVMFuzzerTestOneInput(copy.get(), bytes);
}

bool replay(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
        return false;
    }
    const std::string input((std::istreambuf_iterator<char>(file)),
                            std::istreambuf_iterator<char>());
    // Named before it runs: a crash then says on which input.
    std::fprintf(stderr, "%s (%zu bytes)\n", path.c_str(), input.size());
    run_exact(input, input.size());
    if (input.size() <= kCutBytesMax) {
        for (std::size_t bytes = 0; bytes < input.size(); ++bytes) {
            run_exact(input, bytes);
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (LLVMFuzzerInitialize != nullptr) {
        LLVMFuzzerInitialize(&argc, &argv);
    }
    std::size_t inputs = 0;
    for (int i = 1; i < argc; ++i) {
        const std::filesystem::path path(argv[i]);
        std::vector<std::filesystem::path> files;
        if (std::filesystem::is_directory(path)) {
            for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
                if (entry.is_regular_file()) {
                    files.push_back(entry.path());
                }
            }
        } else {
            files.push_back(path);
        }
        for (const auto& file : files) {
            if (!replay(file)) {
                return 1;
            }
            ++inputs;
        }
    }
    if (inputs == 0) {
        std::fprintf(stderr, "no inputs: give the target a seed corpus under tests/corpus/\n");
        return 1;
    }
    std::fprintf(stderr, "%zu inputs replayed\n", inputs);
    return 0;
}
