// The chunked coding: every input whole, byte by byte and at random splits, against the reference
// model.
#include "http/chunked.h"

#include <gtest/gtest.h>

#include <random>

#include "http/test_reference.h"

namespace moongate::http {
namespace {

using Event = ChunkedDecoder::Event;

struct Decoded {
    Event event = Event::NeedMore;
    std::string body;
    std::string rest;
    std::string trailers;
    bool operator==(const Decoded&) const = default;
};

template <class NextSize>
Decoded decode_pieces(std::string_view input, NextSize next_size,
                      const ChunkedDecoder::Limits& limits = {}) {
    Arena arena;
    ChunkedDecoder decoder(arena, limits);
    Decoded result;
    std::size_t at = 0;
    while (at < input.size() && result.event == Event::NeedMore) {
        const std::string piece(input.substr(at, next_size()));
        std::string_view left = piece;
        for (;;) {
            const auto step = decoder.next(left);
            result.body += step.data;
            left.remove_prefix(step.consumed);
            result.event = step.event == Event::Data ? Event::NeedMore : step.event;
            if (step.event != Event::Data) {
                break;
            }
        }
        at += piece.size() - left.size();
    }
    if (result.event == Event::Done) {
        result.rest = input.substr(at);
        EXPECT_EQ(decoder.least_remaining(), 0U);
    }
    for (const Header& header : decoder.trailers()) {
        result.trailers += std::string(header.name) + "=" + std::string(header.value) + ";";
    }
    return result;
}

Decoded decode(std::string_view input, const ChunkedDecoder::Limits& limits = {}) {
    std::mt19937 random(static_cast<unsigned>(input.size()));
    const Decoded whole = decode_pieces(input, [&] { return input.size(); }, limits);
    EXPECT_EQ(whole, decode_pieces(input, [] { return 1; }, limits)) << input;
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(whole, decode_pieces(input, [&] { return random() % 7 + 1; }, limits)) << input;
    }
    return whole;
}

TEST(ChunkedDecoder, YieldsTheBodyAndLeavesTheRest) {
    const Decoded result = decode("5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\nGET /");
    EXPECT_EQ(result.event, Event::Done);
    EXPECT_EQ(result.body, "hello0123456789");
    EXPECT_EQ(result.rest, "GET /");
    EXPECT_EQ(decode("0\r\n\r\n").event, Event::Done);
}

TEST(ChunkedDecoder, DataAreViewsIntoTheInput) {
    Arena arena;
    ChunkedDecoder decoder(arena);
    const std::string_view input = "5\r\nhello";
    const auto step = decoder.next(input);
    ASSERT_EQ(step.event, Event::Data);
    EXPECT_EQ(step.data.data(), input.data() + 3);
    EXPECT_EQ(step.consumed, input.size());
    EXPECT_EQ(decoder.least_remaining(), 7U);
}

TEST(ChunkedDecoder, PassesOverExtensionsAndPadding) {
    EXPECT_EQ(decode("3;a=b;c=\"d e\"\r\nabc\r\n0;z\r\n\r\n").body, "abc");
    EXPECT_EQ(decode("3 \t ;a\r\nabc\r\n0  \r\n\r\n").event, Event::Done);
}

TEST(ChunkedDecoder, CollectsTrailers) {
    const Decoded result = decode("1\r\na\r\n0\r\nX-Sum:  12\r\nY:\r\n\r\nrest");
    EXPECT_EQ(result.event, Event::Done);
    EXPECT_EQ(result.trailers, "X-Sum=12;Y=;");
    EXPECT_EQ(result.rest, "rest");
}

TEST(ChunkedDecoder, RefusesWhatOthersReadDifferently) {
    for (std::string_view input : {"5\nhello\r\n",
                                   "5\r\nhello\n",
                                   "5\r\nhello\r0",
                                   "5\r\nhelloX",
                                   "1\r\nab\r\n",
                                   "\r\n",
                                   ";a\r\n",
                                   " 5\r\nhello",
                                   "+5\r\n",
                                   "-5\r\n",
                                   "0x5\r\n",
                                   "5_0\r\n",
                                   "5 5\r\n",
                                   "5 x\r\n",
                                   "g\r\n",
                                   "5\r5\n",
                                   "5;a\rb\r\n",
                                   "5;a\nb",
                                   "5;\x01\r\n",
                                   "5\v\r\n",
                                   "5\r\r\n",
                                   "8000000000000000\r\n",
                                   "ffffffffffffffff\r\n",
                                   "10000000000000000\r\n",
                                   "00000000000000001\r\n",
                                   "0\r\n\n",
                                   "0\r\nX: 1\n\r\n",
                                   "0\r\nX: 1\r\n\n",
                                   "0\r\nX: 1\rY\r\n\r\n",
                                   "0\r\n X: 1\r\n\r\n",
                                   "0\r\nX : 1\r\n\r\n",
                                   "0\r\n: 1\r\n\r\n",
                                   "0\r\nX\r\n\r\n",
                                   "0\n\n"}) {
        EXPECT_EQ(decode(input).event, Event::Error) << input;
    }
    EXPECT_EQ(decode("7fffffffffffffff\r\nabc").event, Event::NeedMore);
}

TEST(ChunkedDecoder, BoundsLinesExtensionsAndTrailers) {
    const std::string long_extension = "1;" + std::string(4100, 'x') + "\r\na\r\n0\r\n\r\n";
    EXPECT_EQ(decode(long_extension).event, Event::Error);
    EXPECT_EQ(decode("0\r\nX: " + std::string(8200, 'x') + "\r\n\r\n").event, Event::Error);
    EXPECT_EQ(decode("0\r\nX: 1\r\nX: 2\r\nX: 3\r\n\r\n", {.max_trailer_fields = 2}).event,
              Event::Error);
    // CVE-2023-39326: one byte of data behind each long extension.
    std::string flood;
    for (int i = 0; i < 40; ++i) {
        flood += "1;" + std::string(1000, 'x') + "\r\na\r\n";
    }
    EXPECT_EQ(decode(flood).event, Event::Error);
    // A signature a chunk is not one.
    std::string honest;
    for (int i = 0; i < 400; ++i) {
        honest += "100;s=" + std::string(80, 'f') + "\r\n" + std::string(256, 'd') + "\r\n";
    }
    EXPECT_EQ(decode(honest + "0\r\n\r\n").event, Event::Done);
}

TEST(ChunkedDecoder, StaysAtItsEnd) {
    Arena arena;
    ChunkedDecoder done(arena);
    EXPECT_EQ(done.next("0\r\n\r\nx").event, Event::Done);
    EXPECT_EQ(done.next("5\r\n").event, Event::Done);
    EXPECT_EQ(done.next("5\r\n").consumed, 0U);
    ChunkedDecoder failed(arena);
    EXPECT_EQ(failed.next("x").event, Event::Error);
    EXPECT_EQ(failed.next("0\r\n\r\n").event, Event::Error);
}

TEST(ChunkedDecoder, AgreesWithTheModelOnMutatedInput) {
    std::mt19937 random(11);
    const std::string valid =
        "5;e=1\r\nhello\r\n1a \r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX: y\r\n\r\n";
    const std::string_view alphabet = "\r\n0159afX;: \t";
    for (int round = 0; round < 20000; ++round) {
        std::string input = valid;
        for (unsigned i = random() % 3 + 1; i > 0; --i) {
            const std::size_t at = random() % input.size();
            const char c = alphabet[random() % alphabet.size()];
            switch (random() % 3) {
                case 0:
                    input[at] = c;
                    break;
                case 1:
                    input.insert(at, 1, c);
                    break;
                default:
                    input.erase(at, 1);
            }
        }
        const Decoded result = decode_pieces(input, [&] { return random() % 9 + 1; });
        const auto model = reference::decode_chunked(input);
        using Outcome = reference::Chunked::Outcome;
        if (result.event == Event::Done) {
            ASSERT_EQ(model.outcome, Outcome::Complete) << input;
            ASSERT_EQ(model.body, result.body);
            ASSERT_EQ(input.substr(model.consumed), result.rest);
        } else if (result.event == Event::NeedMore) {
            ASSERT_EQ(model.outcome, Outcome::Incomplete) << input;
        } else {
            // The model takes trailer lines of any form.
            ASSERT_TRUE(model.outcome != Outcome::Complete || model.trailer != "\r\n") << input;
        }
    }
}

TEST(ChunkedWriter, WhatItWritesIsRead) {
    char header[kChunkHeaderMax];
    const std::pair<std::uint64_t, std::string_view> rows[] = {
        {1, "1\r\n"},
        {15, "f\r\n"},
        {16, "10\r\n"},
        {255, "ff\r\n"},
        {4096, "1000\r\n"},
        {0x7fffffffffffffff, "7fffffffffffffff\r\n"},
        {~0ULL, "ffffffffffffffff\r\n"}};
    for (const auto& [size, text] : rows) {
        EXPECT_EQ(std::string_view(header, write_chunk_header(size, header)), text);
    }
    Arena arena;
    HeaderList trailers(arena);
    trailers.add("X-Sum", "1");
    trailers.add("Content-Length", "5");
    trailers.add("X-Bad", "a\r\nb");
    trailers.add("X Bad", "a");
    std::string last(last_chunk_size(trailers), '\0');
    EXPECT_EQ(write_last_chunk(trailers, last.data()), last.size());
    EXPECT_EQ(last, "0\r\nX-Sum: 1\r\n\r\n");
    HeaderList none(arena);
    last.resize(last_chunk_size(none));
    write_last_chunk(none, last.data());
    EXPECT_EQ(last, kLastChunk);
}

}  // namespace
}  // namespace moongate::http
