// The chunked transfer coding: an incremental decoder that yields the body as views into its input,
// and the bytes to write around chunks. Works at any split. Strict: CRLF only, no bare CR in
// extensions, sizes without overflow, bounded extensions and trailers. Source: RFC 9112 §7.1;
// CVE-2023-39326. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"

namespace moongate::http {

class ChunkedDecoder {
public:
    struct Limits {
        std::size_t max_line = 4096;  // one chunk-size line with its extensions
        // Extension bytes beyond one for each body byte and 16 a chunk, over the whole body.
        std::size_t max_extension_excess = 16 * 1024;
        std::size_t max_trailer = 8192;  // the trailer section
        std::uint32_t max_trailer_fields = 100;
    };
    enum class Event : std::uint8_t { NeedMore, Data, Done, Error };
    struct Step {
        Event event;
        std::size_t consumed;   // of the input, the data included
        std::string_view data;  // for Data: never empty, a view into the input
    };

    // `arena` takes the trailers, from the first trailer byte on.
    explicit ChunkedDecoder(Arena& arena) : ChunkedDecoder(arena, Limits()) {}
    ChunkedDecoder(Arena& arena, const Limits& limits) : arena_(&arena), limits_(limits) {}

    // Reads on. NeedMore: all of the input was consumed. Done: the body ended, what is behind
    // `consumed` belongs to the next message. After Done or Error the decoder returns the same
    // again and consumes nothing.
    Step next(std::string_view input);

    bool done() const { return state_ == State::Done; }
    bool failed() const { return state_ == State::Failed; }
    // Bytes of the current chunk that have not come yet.
    std::uint64_t chunk_remaining() const { return state_ == State::Data ? size_ : 0; }
    // The least number of bytes that must still come before the body can be complete; 0 when done.
    std::uint64_t least_remaining() const;
    // Filled at Done.
    const HeaderList& trailers() const { return trailers_; }

private:
    enum class State : std::uint8_t {
        SizeStart,
        Size,
        BeforeExtension,
        Extension,
        SizeLf,
        Data,
        DataCr,
        DataLf,
        Trailer,
        Done,
        Failed
    };

    Step fail(std::size_t consumed);
    // Consume from `at` on; return the new position. They set state_.
    std::size_t read_size_line(std::string_view input, std::size_t at);
    std::size_t read_trailer(std::string_view input, std::size_t at);
    void end_size_line();
    void end_trailer();

    Arena* arena_;
    Limits limits_;
    State state_ = State::SizeStart;
    bool trailer_line_empty_ = true;  // no byte of the current trailer line yet
    bool trailer_cr_ = false;         // the last trailer byte was CR
    std::uint8_t digits_ = 0;
    std::uint64_t size_ = 0;  // of the chunk, then what is left of it
    std::size_t line_bytes_ = 0;
    std::size_t extension_excess_ = 0;
    char* trailer_ = nullptr;
    std::size_t trailer_size_ = 0;
    std::size_t trailer_capacity_ = 0;
    HeaderList trailers_;
};

// Room a chunk header needs: 16 digits and CRLF.
inline constexpr std::size_t kChunkHeaderMax = 18;
inline constexpr std::string_view kChunkEnd = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Writes "SIZE\r\n" and returns its length. `size` must not be 0, which would end the body.
std::size_t write_chunk_header(std::uint64_t size, char* to);

// "0\r\n", the trailers and the empty line. Fields that RFC 9110 §6.5.1 forbids in trailers
// (framing, routing, authentication) and such that valid_header_name/value refuse are left out.
std::size_t last_chunk_size(const HeaderList& trailers);
std::size_t write_last_chunk(const HeaderList& trailers, char* to);

// Whether a field may be sent as a trailer.
bool allowed_in_trailer(const Header& header);

}  // namespace moongate::http
