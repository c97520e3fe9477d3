# SPDX-License-Identifier: Apache-2.0
#
# Compile flags of every target of ours, gathered in the interface target taskwork_options.

# What a build is instrumented with: empty, a value for -fsanitize=, or "coverage". Set by presets.
# Instrumented builds run the layers' tests only: their runtimes cannot be preloaded into foreign
# programs, so the preload library and the tests that need it are not built there.
set(TASKWORK_INSTRUMENT "" CACHE STRING "-fsanitize= value, or 'coverage', or empty")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Debug CACHE STRING "Debug (assertions) or Release" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)  # every layer also goes into the preload library
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

# NDEBUG is left alone in both: our assertions follow TASKWORK_ASSERTIONS, and assert() in tests
# must not vanish.
foreach(language IN ITEMS C CXX)
    set(CMAKE_${language}_FLAGS_DEBUG "-O1 -g")
    set(CMAKE_${language}_FLAGS_RELEASE "-O2 -g")
endforeach()

# Same places as after installation, so that the command finds its preload library by
# ../lib/taskwork/libtaskwork-agent.so, relative to itself, in both.
set(TASKWORK_BIN_DIR "${CMAKE_BINARY_DIR}/bin")
set(TASKWORK_LIB_DIR "${CMAKE_BINARY_DIR}/lib/taskwork")

add_library(taskwork_options INTERFACE)
target_include_directories(taskwork_options INTERFACE
    "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
target_compile_definitions(taskwork_options INTERFACE
    _GNU_SOURCE
    "TASKWORK_VERSION=\"${PROJECT_VERSION}\""
    TASKWORK_ASSERTIONS=$<IF:$<CONFIG:Release>,0,1>)
target_compile_options(taskwork_options INTERFACE
    -Wall -Wextra -Wshadow
    # Naming some members and leaving the rest at their defaults is how options are given.
    -Wno-missing-field-initializers
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
    # A handler may be the first to touch a thread-local variable; only this model needs no
    # allocation for that.
    -ftls-model=initial-exec
    # Two words are exchanged at once; every x86-64 but the very first can.
    -mcx16
    # Stacks are walked by frame pointer, ours too.
    -fno-omit-frame-pointer
    # The preload library sheds what it does not use, of the C++ runtime as well.
    -ffunction-sections -fdata-sections)

if(TASKWORK_INSTRUMENT STREQUAL "coverage")
    target_compile_options(taskwork_options INTERFACE
        $<$<COMPILE_LANGUAGE:C,CXX>:-fprofile-instr-generate$<SEMICOLON>-fcoverage-mapping>)
    target_link_options(taskwork_options INTERFACE -fprofile-instr-generate)
elseif(TASKWORK_INSTRUMENT)
    target_compile_options(taskwork_options INTERFACE
        $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${TASKWORK_INSTRUMENT}>)
    if(TASKWORK_INSTRUMENT MATCHES "undefined")
        target_compile_options(taskwork_options INTERFACE
            $<$<COMPILE_LANGUAGE:C,CXX>:-fno-sanitize-recover=undefined>)
    endif()
    if(TASKWORK_INSTRUMENT MATCHES "fuzzer")
        # Of many inputs: our mutators do not ask what was compared, which takes a fifth of the time.
        target_compile_options(taskwork_options INTERFACE
            $<$<COMPILE_LANGUAGE:C,CXX>:-O2> $<$<COMPILE_LANGUAGE:C,CXX>:-fno-sanitize-coverage=trace-cmp>)
    endif()
    target_link_options(taskwork_options INTERFACE "-fsanitize=${TASKWORK_INSTRUMENT}")
endif()
