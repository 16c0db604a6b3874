# Compiler and linker settings that every target shares. The presets choose among them.
option(MOONGATE_SANITIZE "address+undefined, thread, or empty" "")
option(MOONGATE_FUZZ "build the *_fuzz.cc targets with libFuzzer" OFF)
option(MOONGATE_LTO "link-time optimisation (thin)" OFF)

# A precompiled header carries the time it was made, and ccache takes no chances with one unless told: without
# -fno-pch-timestamp below and these two allowances, every file that uses it would miss.
find_program(CCACHE ccache)
if(CCACHE)
    set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
    set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
endif()

add_library(moongate_options INTERFACE)
target_compile_options(moongate_options INTERFACE
    -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers -Wno-unused-parameter
    -fPIE -Wnon-virtual-dtor -Woverloaded-virtual -fno-omit-frame-pointer -fstack-protector-strong
    "SHELL:-Xclang -fno-pch-timestamp")
target_include_directories(moongate_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
# An executable's own code: thread-local data is reached directly, not through a call.
target_link_options(moongate_options INTERFACE -pie -fuse-ld=lld-19)

if(MOONGATE_SANITIZE STREQUAL "address")
    set(MOONGATE_SANITIZERS -fsanitize=address,undefined -fno-sanitize-recover=undefined)
elseif(MOONGATE_SANITIZE STREQUAL "thread")
    set(MOONGATE_SANITIZERS -fsanitize=thread)
endif()
if(MOONGATE_FUZZ)
    list(APPEND MOONGATE_SANITIZERS -fsanitize=fuzzer-no-link)
endif()
if(MOONGATE_SANITIZERS)
    target_compile_options(moongate_options INTERFACE ${MOONGATE_SANITIZERS})
    target_link_options(moongate_options INTERFACE ${MOONGATE_SANITIZERS})
endif()
if(MOONGATE_LTO)
    target_compile_options(moongate_options INTERFACE -flto=thin)
    target_link_options(moongate_options INTERFACE -flto=thin -Wl,--thinlto-cache-dir=${CMAKE_BINARY_DIR}/lto-cache)
endif()
