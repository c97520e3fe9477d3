// SPDX-License-Identifier: Apache-2.0
#include "maps/subjects.hpp"

#include <cstdio>
#include <cstdlib>

#include "defer/context.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"

namespace taskwork::bench {

namespace {

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "maps_bench: %s failed\n", what);
        std::exit(1);
    }
}

}  // namespace

void start_domain() {
    need(sync::Arena::create(std::size_t{512} << 20).has_value(), "the arena");
    need(task::Worker::start(64).has_value(), "the worker");
    need(defer::WorkTable::create(1024) == no_error, "the table of works");
    need(map::MapTable::create() == no_error, "the table of maps");
}

map::Map& make_map(const map::MapSpec& spec) {
    auto made = map::create(spec);
    need(made.has_value(), "a map");
    return **made;
}

map::Map& make_map(std::uint32_t type, std::uint32_t entries) {
    map::MapSpec spec;
    spec.type = type;
    spec.max_entries = entries;
    if (type != BPF_MAP_TYPE_RINGBUF) {
        spec.key_size = 8;
        spec.value_size = 8;
    }
    return make_map(spec);
}

void Ours::settle() { task::Worker::synchronize(); }

std::string name_of(const char* whose, const std::string& operation, std::uint32_t entries) {
    return whose + operation + (entries == kLarge ? ", 1,000,000 keys" : ", 1,000 keys");
}

}  // namespace taskwork::bench
