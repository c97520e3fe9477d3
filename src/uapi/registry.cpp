// SPDX-License-Identifier: Apache-2.0
#include "uapi/registry.hpp"

#include <map>
#include <mutex>
#include <utility>

namespace taskwork::uapi {
namespace {

template <class T>
sync::Pool& pool_of() noexcept;
template <>
sync::Pool& pool_of<map::Map>() noexcept {
    return map::MapTable::get().maps;
}
template <>
sync::Pool& pool_of<bpf::Program>() noexcept {
    return bpf::ProgramTable::get().programs;
}

bool is_live(const map::Map& map) noexcept {
    return sync::Pool::load(&map).state() == map::kMapLive;
}
bool is_live(const bpf::Program& program) noexcept {
    return sync::Pool::load(&program).state() == bpf::kProgramLive;
}

template <class T>
T* find(std::uint32_t id) noexcept {
    sync::Pool& pool = pool_of<T>();
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        auto* object = static_cast<T*>(pool.at(index));
        if (is_live(*object) && object->id == id) {
            return object;
        }
    }
    return nullptr;
}

template <class T>
std::uint32_t next_id(std::uint32_t id) noexcept {
    sync::Pool& pool = pool_of<T>();
    std::uint32_t next = 0;
    for (std::uint32_t index = 0; index < pool.count(); ++index) {
        const auto* object = static_cast<const T*>(pool.at(index));
        if (is_live(*object) && object->id > id && (next == 0 || object->id < next)) {
            next = object->id;
        }
    }
    return next;
}

/// Never destroyed: descriptors may be closed while the process exits.
template <class T, class Facts>
struct Retained {
    std::mutex lock;
    std::map<std::uint32_t, Facts> by_id;

    void add(const T& object, Facts facts) {
        const std::lock_guard guard(lock);
        std::erase_if(by_id, [](const auto& entry) { return find<T>(entry.first) == nullptr; });
        by_id[object.id] = std::move(facts);
    }

    Facts of(const T& object) {
        const std::lock_guard guard(lock);
        const auto found = by_id.find(object.id);
        return found == by_id.end() ? Facts{} : found->second;
    }
};

auto& retained_of_maps() {
    static auto* instance = new Retained<map::Map, std::shared_ptr<BtfObject>>;
    return *instance;
}
auto& retained_of_programs() {
    static auto* instance = new Retained<bpf::Program, ProgramFacts>;
    return *instance;
}

/// A reference of an object that may be on its way out: none if it had no reference any more.
template <class T>
T* get_unless_gone(T* object) noexcept {
    if (object == nullptr) {
        return nullptr;
    }
    std::uint32_t count = object->references.load(std::memory_order_relaxed);
    while (count != 0) {
        if (object->references.compare_exchange(count, count + 1, std::memory_order_acq_rel)) {
            return object;
        }
    }
    return nullptr;
}

}  // namespace

void retain(const map::Map& map, std::shared_ptr<BtfObject> btf) {
    retained_of_maps().add(map, std::move(btf));
}

void retain(const bpf::Program& program, ProgramFacts facts) {
    retained_of_programs().add(program, std::move(facts));
}

std::shared_ptr<BtfObject> retained_btf(const map::Map& map) { return retained_of_maps().of(map); }

ProgramFacts retained_facts(const bpf::Program& program) {
    return retained_of_programs().of(program);
}

map::Map* get_map(std::uint32_t id) noexcept { return get_unless_gone(find<map::Map>(id)); }

bpf::Program* get_program(std::uint32_t id) noexcept {
    return get_unless_gone(find<bpf::Program>(id));
}

std::uint32_t next_map_id(std::uint32_t id) noexcept { return next_id<map::Map>(id); }

std::uint32_t next_program_id(std::uint32_t id) noexcept { return next_id<bpf::Program>(id); }

bool bind_map(bpf::Program& program, map::Map& map) noexcept {
    static std::mutex lock;
    const std::lock_guard guard(lock);
    const std::uint32_t count = program.map_count;
    for (std::uint32_t index = 0; index < count; ++index) {
        if (program.maps[index] == &map) {
            return true;
        }
    }
    if (count == bpf::Program::kMapsMax) {
        return false;
    }
    map::get_reference(map);
    program.maps[count] = &map;
    // The program may be running: the entry before the count.
    __atomic_store_n(&program.map_count, count + 1, __ATOMIC_RELEASE);
    return true;
}

}  // namespace taskwork::uapi
