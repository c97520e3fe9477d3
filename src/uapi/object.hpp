// SPDX-License-Identifier: Apache-2.0
//
// What stands behind our descriptors, one Object per open file as the kernel means it: dup() shares
// it, the last close destroys it, and an operation in progress keeps it alive meanwhile. References
// to maps and programs are held by objects and by nothing else in this layer.
//
// Only the host's objects mean anything: in a forked child of the host they are inert.
#pragma once

#include <cstdint>
#include <memory>

#include "bpf/program.hpp"
#include "bpf/statistics.hpp"
#include "map/map.hpp"
#include "uapi/btf_object.hpp"
#include "uapi/trie_walk.hpp"

namespace taskwork::uapi {

class Object {
public:
    enum class Kind { map, program, btf, link, perf_event, statistics };

    explicit Object(Kind kind) noexcept : kind_(kind) {}
    virtual ~Object() = default;
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;

    [[nodiscard]] Kind kind() const noexcept { return kind_; }

    /// What a consumer waits for by poll (ring_poll.hpp): whether there is any, and whether data is
    /// there now.
    [[nodiscard]] virtual bool is_polled() const noexcept { return false; }
    [[nodiscard]] virtual bool holds_data() const noexcept { return false; }
    /// Whether the eventfd behind the descriptor is readable now (under the lock of the table of
    /// descriptors).
    bool readable = false;

private:
    Kind kind_;
};

/// A user reference of a map, with the access that its descriptor allows (BPF_F_RDONLY, _WRONLY).
class MapObject final : public Object {
public:
    static constexpr Kind kKind = Kind::map;

    /// Takes a user reference.
    /// Context: task.
    MapObject(map::Map& map, bool may_read, bool may_write);
    /// The last one of a map cancels its works (K97).
    /// Context: task.
    ~MapObject() override;

    [[nodiscard]] map::Map& map() const noexcept { return map_; }
    [[nodiscard]] bool may_read() const noexcept { return may_read_; }
    /// False also once the map is frozen.
    [[nodiscard]] bool may_write() const noexcept;

    /// Ring buffers.
    [[nodiscard]] bool is_polled() const noexcept override;
    [[nodiscard]] bool holds_data() const noexcept override;

    /// LPM tries: where walks stand.
    const std::unique_ptr<TrieWalk> trie_walk;

private:
    map::Map& map_;
    bool may_read_;
    bool may_write_;
};

class ProgramObject final : public Object {
public:
    static constexpr Kind kKind = Kind::program;

    /// Takes over the caller's reference. `type` is what was asked for.
    /// Context: task.
    ProgramObject(bpf::Program& program, std::uint32_t type) noexcept;
    /// Context: task.
    ~ProgramObject() override;

    [[nodiscard]] bpf::Program& program() const noexcept { return program_; }
    [[nodiscard]] std::uint32_t type() const noexcept { return type_; }

private:
    bpf::Program& program_;
    std::uint32_t type_;
};

class BtfHandle final : public Object {
public:
    static constexpr Kind kKind = Kind::btf;

    explicit BtfHandle(std::shared_ptr<BtfObject> btf) noexcept
        : Object(kKind), btf_(std::move(btf)) {}
    [[nodiscard]] const std::shared_ptr<BtfObject>& btf() const noexcept { return btf_; }

private:
    std::shared_ptr<BtfObject> btf_;
};

/// What BPF_ENABLE_STATS answers: executions are counted as long as somebody has it.
class StatisticsObject final : public Object {
public:
    StatisticsObject() noexcept : Object(Kind::statistics) {}

private:
    bpf::Statistics statistics_;
};

}  // namespace taskwork::uapi
