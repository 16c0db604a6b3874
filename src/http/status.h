// nginx's texts for statuses: reason phrases on status lines, and the titles of its built-in error
// pages. Unlike RFC 9110 in places ("302 Moved Temporarily", "405 Not Allowed"), because clients
// and tests compare them. Source: nginx's ngx_http_header_filter_module.c and
// ngx_http_special_response.c. Any thread.
#pragma once

#include <string_view>

namespace moongate::http {

// "OK" for 200; empty for a status nginx sends without a phrase.
std::string_view reason_phrase(int status);

struct ErrorPage {
    std::string_view title;    // "404 Not Found"
    std::string_view heading;  // what stands in <h1>, "400 Bad Request" for 494 to 497
    std::string_view note;     // the centred line below the heading, or empty
};

// Null where nginx has no page for the status (it sends an empty body then).
const ErrorPage* error_page(int status);

// The status a client sees: nginx sends its internal 494 to 497 as 400.
int sent_status(int status);

}  // namespace moongate::http
