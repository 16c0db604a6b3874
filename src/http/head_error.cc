#include "http/head_error.h"

namespace moongate::http {
namespace {

struct Row {
    HeadError error;
    int status;
    std::string_view client;
    std::string_view upstream;
};

// In the order of the enumeration; nginx's words where nginx has the case.
constexpr std::string_view kInvalidHeader = "upstream sent invalid header";
constexpr Row kRows[] = {
    {HeadError::None, 0, "", ""},
    {HeadError::InvalidMethod, 400, "client sent invalid method while reading client request line",
     kInvalidHeader},
    {HeadError::InvalidRequest, 400,
     "client sent invalid request while reading client request line", kInvalidHeader},
    {HeadError::InvalidVersion, 505,
     "client sent invalid version while reading client request line", kInvalidHeader},
    {HeadError::Http09, 400, "client sent HTTP/0.9 request", kInvalidHeader},
    {HeadError::UriTooLong, 414, "client sent too long URI", "upstream sent too big header"},
    {HeadError::HeaderTooLong, 494, "client sent too long header line",
     "upstream sent too big header"},
    {HeadError::HeadTooLarge, 494, "client sent too large request", "upstream sent too big header"},
    {HeadError::TooManyHeaders, 494, "client sent too many header lines",
     "upstream sent too many header lines"},
    {HeadError::InvalidHeaderLine, 400, "client sent invalid header line", kInvalidHeader},
    {HeadError::DuplicateHeader, 400, "client sent duplicate header line",
     "upstream sent duplicate header line"},
    {HeadError::InvalidHost, 400, "client sent invalid host header", kInvalidHeader},
    {HeadError::InvalidHostInRequestLine, 400, "client sent invalid host in request line",
     kInvalidHeader},
    {HeadError::DuplicateHost, 400, "client sent duplicate host header", kInvalidHeader},
    {HeadError::MissingHost, 400, "client sent HTTP/1.1 request without \"Host\" header",
     kInvalidHeader},
    {HeadError::InvalidContentLength, 400, "client sent invalid \"Content-Length\" header",
     "upstream sent invalid \"Content-Length\" header"},
    {HeadError::LengthAndEncoding, 400,
     "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time",
     "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"},
    {HeadError::EncodingInHttp10, 400,
     "client sent HTTP/1.0 request with \"Transfer-Encoding\" header",
     "upstream sent HTTP/1.0 response with \"Transfer-Encoding\" header"},
    {HeadError::InvalidTransferEncoding, 400, "client sent invalid \"Transfer-Encoding\"",
     "upstream sent unknown \"Transfer-Encoding\""},
    {HeadError::UnknownTransferEncoding, 501, "client sent unknown \"Transfer-Encoding\"",
     "upstream sent unknown \"Transfer-Encoding\""},
    {HeadError::ConnectWithBody, 400, "client sent CONNECT request with body", kInvalidHeader},
    {HeadError::UnknownExpectation, 417, "client sent unknown \"Expect\" header", kInvalidHeader},
    {HeadError::InvalidStatusLine, 502, "", "upstream sent no valid HTTP/1.0 header"},
    {HeadError::ResponseTooLarge, 502, "", "upstream sent too big header"},
};

consteval bool rows_in_order() {
    std::size_t i = 0;
    for (const Row& row : kRows) {
        if (static_cast<std::size_t>(row.error) != i++) {
            return false;
        }
    }
    return i == static_cast<std::size_t>(HeadError::ResponseTooLarge) + 1;
}
static_assert(rows_in_order());

const Row& row_of(HeadError error) {
    return kRows[static_cast<std::size_t>(error)];
}

}  // namespace

int http_status(HeadError error) {
    return row_of(error).status;
}
std::string_view client_log_text(HeadError error) {
    return row_of(error).client;
}
std::string_view upstream_log_text(HeadError error) {
    return row_of(error).upstream;
}

}  // namespace moongate::http
