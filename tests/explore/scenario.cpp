// SPDX-License-Identifier: Apache-2.0
#include "tests/explore/scenario.hpp"

#include <cstdlib>
#include <new>

#include "sync/arena.hpp"
#include "tests/explore/heap.hpp"

namespace explore {

namespace {

template <class T>
T& allocate(std::string name, std::uint64_t value) {
    void* memory = taskwork::sync::Arena::allocate(64, 64);
    if (memory == nullptr) {
        std::abort();
    }
    Machine::get().name(memory, 8, std::move(name));
    return *new (memory) T(value);
}

}  // namespace

Variable& Setup::variable(std::string name, std::uint64_t value) {
    return allocate<Variable>(std::move(name), value);
}

PlainVariable& Setup::plain(std::string name, std::uint64_t value) {
    return allocate<PlainVariable>(std::move(name), value);
}

std::vector<Scenario>& scenarios() {
    static std::vector<Scenario> all;
    return all;
}

std::set<std::string>& outcomes() {
    static std::set<std::string> all;
    return all;
}

void outcome(const std::string& text) {
    const HeapOf own(false);
    outcomes().insert(std::string(text));
}

}  // namespace explore
