// SPDX-License-Identifier: Apache-2.0
//
// What steps touch, and who ever touches it: the knowledge that the ample sets (ample.cpp) rest on.
#include <bit>
#include <cstdio>
#include <cstdlib>

#include "sync/arena.hpp"
#include "tests/explore/detail.hpp"
#include "tests/explore/heap.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

using taskwork::sync::Arena;
using taskwork::sync::kArenaBase;

}  // namespace

PlaceId Machine::thing(Thing kind, unsigned index) {
    return static_cast<unsigned>(kind) * kThings + index;
}

bool Machine::is_modelled(std::uintptr_t at) const {
    return at - reinterpret_cast<std::uintptr_t>(statics_) < sizeof(Statics) ||
           at - reinterpret_cast<std::uintptr_t>(HeapOf::begin()) < HeapOf::size() ||
           (Arena::present() && at >= kArenaBase && at - kArenaBase < Arena::header().size);
}

bool Machine::is_part(std::uintptr_t at, unsigned size) const {
    if (size != 4) {
        return false;
    }
    for (const auto& [begin, bytes] : words_) {
        if (at - begin < bytes) {
            return true;
        }
    }
    return false;
}

PlaceId Machine::place_of(const void* address, unsigned size) {
    const HeapOf own(false);
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    PlaceId* id = nullptr;
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    const auto heap = reinterpret_cast<std::uintptr_t>(HeapOf::begin());
    if (at - statics < sizeof(Statics)) {
        id = &static_places_[at - statics];
    } else if (at - heap < HeapOf::size()) {
        id = &heap_places_[at - heap];
    } else if (Arena::present() && at >= kArenaBase && at - kArenaBase < Arena::header().size) {
        const std::size_t index = at - kArenaBase;
        if (index >= arena_places_.size()) {
            arena_places_.resize(index + 4096);
        }
        id = &arena_places_[index];
    } else {
        fail("explorer", "a step touches memory that is not modelled");
        std::abort();
    }
    if (*id == kNowhere) {
        *id = static_cast<PlaceId>(places_.size());
        Place place;
        place.address = at;
        place.size = static_cast<std::uint8_t>(size);
        for (std::size_t index = 0; index < watched_.size(); ++index) {
            if (at == watched_[index].address ||
                at - watched_[index].fields < watched_[index].size) {
                place.object = static_cast<std::int16_t>(index);
                place.is_word = at == watched_[index].address;
            }
        }
        places_.push_back(place);
        if (at >= kArenaBase && at - kArenaBase < Arena::header().size) {
            add_line(at);
        }
    } else if (places_[*id].size != size) {
        fail("explorer", "one memory location is used in two sizes: " + place_name(*id));
    }
    return *id;
}

std::string Machine::place_name(PlaceId id) const {
    static const char* const things[] = {"",      "life",    "signal", "process",
                                         "order", "barrier", "rest"};
    if (id < static_cast<unsigned>(Thing::count) * kThings) {
        return std::string(things[id / kThings]) + " " + std::to_string(id % kThings);
    }
    const Place& place = places_[id];
    const Name* best = nullptr;
    for (const Name& one : names_) {
        if (place.address - one.begin < one.size && (best == nullptr || one.size < best->size)) {
            best = &one;
        }
    }
    char text[64];
    if (best != nullptr) {
        if (best->size <= 8) {
            return best->text;
        }
        std::snprintf(text, sizeof(text), "+%#zx",
                      static_cast<std::size_t>(place.address - best->begin));
        return best->text + text;
    }
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (place.address - statics < sizeof(Statics)) {
        return "own state";
    }
    std::snprintf(text, sizeof(text), "arena+%#zx",
                  static_cast<std::size_t>(place.address - kArenaBase));
    return text;
}

void Machine::note_access(PlaceId id, unsigned agent, bool writes) {
    Place& place = places_[id];
    std::uint32_t& touched = writes ? place.writers : place.readers;
    if ((touched & bit(agent)) != 0) {
        return;
    }
    touched |= bit(agent);
    if ((place.quiet_all & bit(agent)) != 0 ||
        (writes && (place.quiet_readers & bit(agent)) != 0)) {
        assumptions_broken = true;
    }
    if (agent < kActorsMax) {
        (writes ? place.threads_writing : place.threads_reading) |=
            static_cast<std::uint8_t>(bit(world_.actors[agent].thread));
        const unsigned all = place.threads_reading | place.threads_writing;
        if (model_ != Model::sc && !place.shared && place.address != 0 && std::popcount(all) > 1 &&
            place.threads_writing != 0) {
            assumptions_broken = true;
        }
    }
}

std::uint32_t Machine::conflicts(PlaceId id, bool writes, std::uint32_t self) {
    Place& place = places_[id];
    const std::uint32_t others = world_.possible & ~self;
    const std::uint32_t found = (place.writers | (writes ? place.readers : 0)) & others;
    (writes ? place.quiet_all : place.quiet_readers) |= others & ~found;
    return found;
}

std::uint32_t Machine::contenders(unsigned index, const Request& request) {
    const bool writes = writes_now(request);
    std::uint32_t found = conflicts(request.place, writes, bit(index));
    if (request.high != kNowhere) {
        found |= conflicts(request.high, writes, bit(index));
    }
    if (const PlaceId second = second_place(request); second != kNowhere) {
        found |= conflicts(second, request.high != kNowhere, bit(index));
    }
    if (feels_barrier(request)) {
        found |= conflicts(thing(Thing::barrier, 0), false, bit(index));
    }
    if (const LifeUse life = life_use(request.place, request); life.place != kNowhere) {
        found |= conflicts(life.place, life.changes, bit(index));
    }
    // Whatever a process wrote before it died is there to be found by those who clean up.
    const unsigned process = world_.actors[index].process;
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (writes && may_die_[process] && !world_.dead[process] &&
        places_[request.place].address - statics >= sizeof(Statics)) {
        found |= bit(kKill + process);
    }
    return found;
}

Machine::LifeUse Machine::life_use(PlaceId id, const Request& request) const {
    const Place& place = places_[id];
    if (place.address == 0 || place.object < 0) {
        return {};
    }
    const bool changes =
        place.is_word &&
        ((request.kind == Kind::compare_exchange && (request.expected & 0xff) == 0) ||
         ((request.kind == Kind::store || request.kind == Kind::exchange ||
           request.kind == Kind::compare_exchange) &&
          (request.operand & 0xff) == 0));
    const PlaceId life = watched_[static_cast<unsigned>(place.object)].life;
    return {place.is_word && !changes ? kNowhere : life, changes};
}

bool Machine::writes_now(const Request& request) const {
    switch (request.kind) {
    case Kind::load:
    case Kind::plain_load:
    case Kind::is_gone:
        return false;
    case Kind::compare_exchange:
        return model_ == Model::ra || read(request.place) == request.expected;
    case Kind::compare_exchange_pair:
        return model_ == Model::ra || (read(request.place) == request.expected &&
                                       read(request.high) == request.high_expected);
    default:
        return true;
    }
}

PlaceId Machine::second_place(const Request& request) const {
    // Sequentially consistent accesses take part in the one order that fences make; those of two
    // words are fences.
    if (model_ == Model::ra && request.order == std::memory_order_seq_cst &&
        is_memory(request.kind)) {
        return thing(Thing::order, 0);
    }
    return kNowhere;
}

bool Machine::feels_barrier(const Request& request) const {
    // A membarrier makes everybody know what everybody has seen and touched.
    if (model_ != Model::ra) {
        return false;
    }
    const Place& place = places_[request.place];
    return request.kind == Kind::fence ||
           (is_memory(request.kind) && (place.shared || (place.object >= 0 && !place.is_word)));
}

}  // namespace explore
