#include "http/status.h"

namespace moongate::http {
namespace {

constexpr std::string_view kTooLarge = "400 Request Header Or Cookie Too Large";
constexpr std::string_view kBadCertificate = "400 The SSL certificate error";
constexpr std::string_view kNoCertificate = "400 No required SSL certificate was sent";
constexpr std::string_view kPlainToHttps = "400 The plain HTTP request was sent to HTTPS port";
constexpr std::string_view kBadRequest = "400 Bad Request";

}  // namespace

std::string_view reason_phrase(int status) {
    switch (status) {
        case 100:
            return "Continue";
        case 101:
            return "Switching Protocols";
        case 103:
            return "Early Hints";
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 202:
            return "Accepted";
        case 204:
            return "No Content";
        case 206:
            return "Partial Content";
        case 301:
            return "Moved Permanently";
        case 302:
            return "Moved Temporarily";
        case 303:
            return "See Other";
        case 304:
            return "Not Modified";
        case 307:
            return "Temporary Redirect";
        case 308:
            return "Permanent Redirect";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 402:
            return "Payment Required";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Not Allowed";
        case 406:
            return "Not Acceptable";
        case 407:
            return "Proxy Authentication Required";
        case 408:
            return "Request Time-out";
        case 409:
            return "Conflict";
        case 410:
            return "Gone";
        case 411:
            return "Length Required";
        case 412:
            return "Precondition Failed";
        case 413:
            return "Request Entity Too Large";
        case 414:
            return "Request-URI Too Large";
        case 415:
            return "Unsupported Media Type";
        case 416:
            return "Requested Range Not Satisfiable";
        case 421:
            return "Misdirected Request";
        case 429:
            return "Too Many Requests";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Temporarily Unavailable";
        case 504:
            return "Gateway Time-out";
        case 505:
            return "HTTP Version Not Supported";
        case 507:
            return "Insufficient Storage";
        default:
            return {};
    }
}

const ErrorPage* error_page(int status) {
    struct Row {
        int status;
        ErrorPage page;
    };
    static constexpr Row kRows[] = {
        {301, {"301 Moved Permanently", "301 Moved Permanently", ""}},
        {302, {"302 Found", "302 Found", ""}},
        {303, {"303 See Other", "303 See Other", ""}},
        {307, {"307 Temporary Redirect", "307 Temporary Redirect", ""}},
        {308, {"308 Permanent Redirect", "308 Permanent Redirect", ""}},
        {400, {"400 Bad Request", "400 Bad Request", ""}},
        {401, {"401 Authorization Required", "401 Authorization Required", ""}},
        {402, {"402 Payment Required", "402 Payment Required", ""}},
        {403, {"403 Forbidden", "403 Forbidden", ""}},
        {404, {"404 Not Found", "404 Not Found", ""}},
        {405, {"405 Not Allowed", "405 Not Allowed", ""}},
        {406, {"406 Not Acceptable", "406 Not Acceptable", ""}},
        {407, {"407 Proxy Authentication Required", "407 Proxy Authentication Required", ""}},
        {408, {"408 Request Time-out", "408 Request Time-out", ""}},
        {409, {"409 Conflict", "409 Conflict", ""}},
        {410, {"410 Gone", "410 Gone", ""}},
        {411, {"411 Length Required", "411 Length Required", ""}},
        {412, {"412 Precondition Failed", "412 Precondition Failed", ""}},
        {413, {"413 Request Entity Too Large", "413 Request Entity Too Large", ""}},
        {414, {"414 Request-URI Too Large", "414 Request-URI Too Large", ""}},
        {415, {"415 Unsupported Media Type", "415 Unsupported Media Type", ""}},
        {416, {"416 Requested Range Not Satisfiable", "416 Requested Range Not Satisfiable", ""}},
        {421, {"421 Misdirected Request", "421 Misdirected Request", ""}},
        {429, {"429 Too Many Requests", "429 Too Many Requests", ""}},
        {494, {kTooLarge, kBadRequest, kTooLarge.substr(4)}},
        {495, {kBadCertificate, kBadRequest, kBadCertificate.substr(4)}},
        {496, {kNoCertificate, kBadRequest, kNoCertificate.substr(4)}},
        {497, {kPlainToHttps, kBadRequest, kPlainToHttps.substr(4)}},
        {498, {"404 Not Found", "404 Not Found", ""}},
        {500, {"500 Internal Server Error", "500 Internal Server Error", ""}},
        {501, {"501 Not Implemented", "501 Not Implemented", ""}},
        {502, {"502 Bad Gateway", "502 Bad Gateway", ""}},
        {503, {"503 Service Temporarily Unavailable", "503 Service Temporarily Unavailable", ""}},
        {504, {"504 Gateway Time-out", "504 Gateway Time-out", ""}},
        {505, {"505 HTTP Version Not Supported", "505 HTTP Version Not Supported", ""}},
        {507, {"507 Insufficient Storage", "507 Insufficient Storage", ""}},
    };
    for (const Row& row : kRows) {
        if (row.status == status) {
            return &row.page;
        }
    }
    return nullptr;
}

int sent_status(int status) {
    return status >= 494 && status <= 497 ? 400 : status;
}

}  // namespace moongate::http
