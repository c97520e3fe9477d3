// SPDX-License-Identifier: Apache-2.0
//
// Memory: the sc and tso models, the lives of watched objects, races. memory_ra.cpp has the third
// model.
#include <string>

#include "sync/arena.hpp"
#include "sync/pool.hpp"
#include "tests/explore/detail.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

using taskwork::sync::kArenaBase;

}  // namespace

std::uint64_t Machine::read(PlaceId id) const {
    const Place& place = places_[id];
    return read_raw(reinterpret_cast<const void*>(place.address), place.size);
}

std::uint64_t Machine::initial(PlaceId id) const {
    const Place& place = places_[id];
    const auto statics = reinterpret_cast<std::uintptr_t>(statics_);
    if (place.address - statics < sizeof(Statics)) {
        return read_raw(base_statics_.data() + (place.address - statics), place.size);
    }
    if (place.address >= kArenaBase && place.address - kArenaBase < base_arena_.size()) {
        return read_raw(base_arena_.data() + (place.address - kArenaBase), place.size);
    }
    return read(id);
}

void Machine::check_edge(const Place& place, std::uint64_t old, std::uint64_t value) {
    const auto from = static_cast<std::uint32_t>(old & 0xff);
    const auto to = static_cast<std::uint32_t>(value & 0xff);
    const auto edge = watched_[static_cast<unsigned>(place.object)].edge;
    if (from == to || edge == nullptr) {
        return;
    }
    ++edges[from << 8 | to];
    if (!edge(old, value)) {
        explore::fail("state-edge", "a word goes from state " + std::to_string(from) + " to " +
                                        std::to_string(to) + ", which is not documented");
    }
}

void Machine::write(PlaceId id, std::uint64_t value, int thread) {
    const Place& place = places_[id];
    const std::uint64_t old = read(id);
    value &= mask_of(place.size);
    write_raw(reinterpret_cast<void*>(place.address), place.size, value);
    if (old != value) {
        world_.memory_hash ^= hash2(place.address, old) ^ hash2(place.address, value);
    }
    if (place.is_word) {
        WatchedObject& object = world_.objects[static_cast<unsigned>(place.object)];
        check_edge(place, old, value);
        if (ends_life(id, old, value)) {
            ++object.life;
            if (thread >= 0) {
                object.section_seen[static_cast<unsigned>(thread)] = 0;
            }
        }
        object.free = (value & 0xff) == 0;
    }
    for (unsigned index = 0; index < thread_count_; ++index) {
        if (section_places_[index] == id) {
            const bool open = (value & 0xffff) != 0;
            if (open && !world_.in_section[index]) {
                ++world_.sections[index];
            }
            world_.in_section[index] = open;
        }
    }
}

void Machine::check_access(unsigned actor, const Request& request) {
    const Place& place = places_[request.place];
    if (place.object < 0) {
        return;
    }
    Actor& self = world_.actors[actor];
    WatchedObject& object = world_.objects[static_cast<unsigned>(place.object)];
    if (!place.is_word && object.free) {
        explore::fail("use-after-free", plans_[actor].name + " touches " +
                                            place_name(request.place) + ", which is free");
    }
    if (!place.is_word && model_ == Model::ra) {
        ra_touch(self.thread, place.object, request.place);
    }
    const unsigned thread = self.thread;
    if ((place.is_word && !writes_now(request)) || !world_.in_section[thread]) {
        return;
    }
    if (object.section_seen[thread] == world_.sections[thread] &&
        object.life_seen[thread] != object.life) {
        explore::fail("reuse", plans_[actor].name + " touches " + place_name(request.place) +
                                   " of a later life than its section has seen");
    }
    object.section_seen[thread] = world_.sections[thread];
    object.life_seen[thread] = object.life;
}

void Machine::check_races() {
    for (unsigned one = 0; one < thread_count_; ++one) {
        const Thread& first = world_.threads[one];
        if (first.finished || world_.dead[first.process]) {
            continue;
        }
        const Actor& a = world_.actors[first.active[first.depth - 1U]];
        if (a.status != Status::ready || a.request.place == kNowhere ||
            !places_[a.request.place].plain) {
            continue;
        }
        for (unsigned two = one + 1; two < thread_count_; ++two) {
            const Thread& second = world_.threads[two];
            if (second.finished || world_.dead[second.process]) {
                continue;
            }
            const Actor& b = world_.actors[second.active[second.depth - 1U]];
            if (b.status == Status::ready && b.request.place == a.request.place &&
                (is_plain(a.request.kind) || is_plain(b.request.kind)) &&
                (writes_now(a.request) || writes_now(b.request))) {
                fail("race", plans_[first.active[first.depth - 1U]].name + " and " +
                                 plans_[second.active[second.depth - 1U]].name + " touch " +
                                 place_name(a.request.place) + " with no order between them");
                return;
            }
        }
    }
}

std::uint64_t Machine::execute_memory(unsigned actor, const Request& request, unsigned variant) {
    check_access(actor, request);
    const unsigned thread = world_.actors[actor].thread;
    const bool direct = model_ == Model::sc || variant == kDirect;
    if (request.high != kNowhere) {
        return execute_pair(actor, request, direct);
    }
    if (!direct && model_ == Model::ra) {
        return ra_execute(thread, request, variant);
    }
    Thread& own = world_.threads[thread];
    const bool stores = request.kind == Kind::store || request.kind == Kind::plain_store;
    if (!direct && stores && request.order != std::memory_order_seq_cst) {
        own.buffer[own.buffered++] = {request.operand & mask_of(request.size), request.place,
                                      request.size};
        return 0;
    }
    std::uint64_t old = read(request.place);
    if (!direct) {
        for (unsigned entry = own.buffered; entry-- > 0;) {
            if (own.buffer[entry].place == request.place) {
                old = own.buffer[entry].value;
                break;
            }
        }
    }
    if (request.kind == Kind::load || request.kind == Kind::plain_load ||
        (request.kind == Kind::compare_exchange && old != request.expected)) {
        return old;
    }
    const std::uint64_t value = updated(request.kind, old, request.operand, request.expected);
    if (model_ == Model::ra && ends_life(request.place, old, value)) {
        ra_settle(thread, places_[request.place].object, true, request.place);
    }
    write(request.place, value, static_cast<int>(thread));
    return stores ? 0 : old;
}

std::uint64_t Machine::execute_pair(unsigned actor, const Request& request, bool direct) {
    // No store of the thread to them is under way: see needs_drained.
    const std::uint64_t low = read(request.place);
    const std::uint64_t high = read(request.high);
    const bool exchanges = low == request.expected && high == request.high_expected;
    const unsigned thread = world_.actors[actor].thread;
    if (!direct && model_ == Model::ra) {
        ra_pair(thread, request, exchanges);
    } else if (exchanges) {
        write(request.place, request.operand, static_cast<int>(thread));
        write(request.high, request.high_operand, static_cast<int>(thread));
    }
    world_.actors[actor].high_result = high;
    return low;
}

bool Machine::ends_life(PlaceId id, std::uint64_t old, std::uint64_t value) const {
    const std::uint64_t from = old & 0xff;
    const std::uint64_t to = value & 0xff;
    using namespace taskwork::sync;
    // By a release, or by the claim of what is reused in place.
    return places_[id].is_word && ((from != kStateFree && to == kStateFree) ||
                                   (from == kStateRetired && to >= kStateUser));
}

void Machine::flush(unsigned index) {
    Thread& thread = world_.threads[index];
    const BufferedStore first = thread.buffer[0];
    --thread.buffered;
    for (unsigned entry = 0; entry < thread.buffered; ++entry) {
        thread.buffer[entry] = thread.buffer[entry + 1];
    }
    write(first.place, first.value, static_cast<int>(index));
    if (thread.buffered == 0) {
        update_possible();
    }
}

void Machine::drain_all() {
    for (unsigned index = 0; index < thread_count_; ++index) {
        while (world_.threads[index].buffered != 0) {
            flush(index);
        }
    }
}

}  // namespace explore
