// The chunked decoder against its reference model, whole and in pieces: same outcome, body, length
// and trailers.
#include <cstdlib>
#include <string>

#include "http/chunked.h"
#include "http/test_reference.h"

namespace {

using moongate::Arena;
using moongate::http::ChunkedDecoder;
using moongate::http::reference::Chunked;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

struct Outcome {
    ChunkedDecoder::Event event = ChunkedDecoder::Event::NeedMore;
    std::string body;
    std::string trailers;
    std::size_t consumed = 0;
    bool operator==(const Outcome&) const = default;
};

// `step` bytes a call; 0: all at once.
Outcome decode(std::string_view input, std::size_t step) {
    Arena arena;
    ChunkedDecoder decoder(arena);
    Outcome outcome;
    std::size_t at = 0;
    while (at < input.size()) {
        std::string_view piece = input.substr(at, step == 0 ? std::string_view::npos : step);
        for (;;) {
            const auto result = decoder.next(piece);
            require(result.consumed <= piece.size());
            outcome.event = result.event;
            outcome.body += result.data;
            at += result.consumed;
            piece.remove_prefix(result.consumed);
            if (result.event != ChunkedDecoder::Event::Data) {
                break;
            }
            require(!result.data.empty());
        }
        if (outcome.event != ChunkedDecoder::Event::NeedMore) {
            break;
        }
        require(piece.empty());
        require(decoder.least_remaining() > 0);
    }
    outcome.consumed = outcome.event == ChunkedDecoder::Event::Done ? at : 0;
    for (const auto& header : decoder.trailers()) {
        outcome.trailers += std::string(header.name) + ":" + std::string(header.value) + "\n";
    }
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using Event = ChunkedDecoder::Event;
    if (size == 0) {
        return 0;
    }
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const Outcome whole = decode(input, 0);
    require(whole == decode(input, 1));
    require(whole == decode(input, data[0] % 16 + 2));

    // The model has no limits, so that an error here may be a limit; success and bytes must agree.
    const Chunked model = moongate::http::reference::decode_chunked(input);
    if (whole.event == Event::Done) {
        require(model.outcome == Chunked::Outcome::Complete);
        require(model.consumed == whole.consumed && model.body == whole.body);
    } else if (whole.event == Event::NeedMore) {
        require(model.outcome == Chunked::Outcome::Incomplete && model.body == whole.body);
    } else if (model.outcome == Chunked::Outcome::Complete && model.trailer == "\r\n") {
        require(size > 4000);  // only the limits of lines and extensions are left as a reason
    }
    return 0;
}
