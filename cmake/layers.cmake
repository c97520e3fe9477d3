# SPDX-License-Identifier: Apache-2.0
#
# taskwork_layer(<name> DEPENDS <layer>... [FOLDERS <folder>...] [EXCLUDE <regex>] [CHECK_CONTEXTS])
#
# Declares the folder it is called from as a layer, one target taskwork_<name>; FOLDERS are folders
# inside it whose sources belong to it too; EXCLUDE: sources that do not. CHECK_CONTEXTS: clang diagnoses calls that leave their
# context (src/base/context.hpp); tests and benchmarks are task context and not checked. The names of
# files say what they are, so that adding one needs no CMake:
#
#   x.cpp x.S        part of the layer
#   x_test.cpp       executable <name>_x_test: GoogleTest, linked with this layer and those above
#                    only, each TEST its own ctest (label unit)
#   x_bench.cpp      executable <name>_x_bench: Google Benchmark, run for a moment by ctest (label
#                    bench-smoke) so that it cannot rot
#   x_main.cpp       entry of an executable; the layer's CMakeLists.txt says which
#   x_preload.cpp    part of the preload library only (src/agent): definitions that replace libc's
#                    must not be found by the linker when the layer's archive is used elsewhere

find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)

# taskwork_test(<target> <source> LABEL <label> TIMEOUT <s> LIBRARIES <lib>... [PROPERTIES ...])
function(taskwork_test target source)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "LABEL;TIMEOUT" "LIBRARIES;PROPERTIES")
    add_executable(${target} "${source}")
    target_link_libraries(${target} PRIVATE
        taskwork_options ${arg_LIBRARIES} GTest::gmock GTest::gtest_main)
    # PRE_TEST: tests are listed when ctest starts, not in the middle of the build.
    gtest_discover_tests(${target} TEST_PREFIX "${target}." DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES
        DISCOVERY_TIMEOUT 60
        PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS ${arg_LABEL} ${arg_PROPERTIES})
endfunction()

# taskwork_bench(<target> <source> LIBRARIES <lib>...)
function(taskwork_bench target source)
    cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "LIBRARIES")
    if(TASKWORK_INSTRUMENT)
        return()  # nobody wants the speed of an instrumented build
    endif()
    add_executable(${target} "${source}")
    target_link_libraries(${target} PRIVATE
        taskwork_options ${arg_LIBRARIES} benchmark::benchmark_main)
    set_target_properties(${target} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bench")
    add_test(NAME ${target} COMMAND ${target}
        --benchmark_min_time=0.01 --benchmark_repetitions=1)
    set_tests_properties(${target} PROPERTIES LABELS bench-smoke TIMEOUT 120)
endfunction()

function(taskwork_layer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "CHECK_CONTEXTS" "EXCLUDE" "DEPENDS;FOLDERS")
    list(TRANSFORM arg_DEPENDS PREPEND taskwork_)
    set(sources)
    foreach(folder IN ITEMS . ${arg_FOLDERS})
        cmake_path(ABSOLUTE_PATH folder BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
        file(GLOB found CONFIGURE_DEPENDS "${folder}/*.cpp" "${folder}/*.S")
        list(APPEND sources ${found})
    endforeach()
    if(arg_EXCLUDE)
        list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
    endif()
    set(tests ${sources})
    list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
    set(benches ${sources})
    list(FILTER benches INCLUDE REGEX "_bench\\.cpp$")
    list(FILTER sources EXCLUDE REGEX "_(test|bench|main|preload)\\.cpp$")

    if(sources)
        add_library(taskwork_${name} STATIC ${sources})
        target_link_libraries(taskwork_${name} PUBLIC taskwork_options ${arg_DEPENDS})
        if(arg_CHECK_CONTEXTS)
            target_compile_options(taskwork_${name} PRIVATE
                $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>)
        endif()
    else()  # headers only, so far
        add_library(taskwork_${name} INTERFACE)
        target_link_libraries(taskwork_${name} INTERFACE taskwork_options ${arg_DEPENDS})
    endif()

    foreach(source IN LISTS tests)
        cmake_path(GET source STEM unit)
        taskwork_test(${name}_${unit} "${source}"
            LIBRARIES taskwork_${name} LABEL unit TIMEOUT 60)
    endforeach()
    foreach(source IN LISTS benches)
        cmake_path(GET source STEM unit)
        taskwork_bench(${name}_${unit} "${source}" LIBRARIES taskwork_${name})
    endforeach()
endfunction()

# taskwork_link(<target> <library>...): links for whoever uses the target, whether or not the layer
# has sources of its own yet.
function(taskwork_link target)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "INTERFACE_LIBRARY")
        target_link_libraries(${target} INTERFACE ${ARGN})
    elseif(type STREQUAL "EXECUTABLE")
        target_link_libraries(${target} PRIVATE ${ARGN})
    else()
        target_link_libraries(${target} PUBLIC ${ARGN})
    endif()
endfunction()

# taskwork_programs(<folder> <destination>): each x_main.cpp and x_main.c there is a program x of its
# own, linked with nothing of ours, to be run by tests or the demo; the target `programs` makes all.
# Built as ordinary programs are, but for frame pointers, which whole stacks need.
add_custom_target(programs ALL)
function(taskwork_programs folder destination)
    cmake_path(ABSOLUTE_PATH folder NORMALIZE)
    file(GLOB mains CONFIGURE_DEPENDS "${folder}/*_main.cpp" "${folder}/*_main.c")
    foreach(main IN LISTS mains)
        cmake_path(GET main STEM program)
        string(REGEX REPLACE "_main$" "" program "${program}")
        add_executable(${program} "${main}")
        target_compile_definitions(${program} PRIVATE $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE>)
        target_compile_options(${program} PRIVATE
            -Wall -Wextra -O1 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls)
        set_target_properties(${program} PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY "${destination}"
            ENABLE_EXPORTS ON)  # names in .dynsym, which stacks are printed from
        add_dependencies(programs ${program})
    endforeach()
endfunction()
