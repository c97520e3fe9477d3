// SPDX-License-Identifier: Apache-2.0
//
// Perf events as perf_event_open(2) and its ioctls present them, and the link that ties a program
// to one. A PerfEvent counts nothing by itself: while it is enabled and has a program, the program
// is attached in the event layer, which opens the real events, one a thread of the domain.
//
// What is served: PERF_TYPE_SOFTWARE with CPU_CLOCK or TASK_CLOCK, PERF_TYPE_HARDWARE with
// CPU_CYCLES. `pid` and `cpu` are checked as the kernel does, but always mean every thread of the
// domain: whom to sample is decided by who is a member. An event without a period never fires.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "event/event.hpp"
#include "uapi/object.hpp"
#include "uapi/perf_pages.hpp"

namespace taskwork::uapi {

class PerfEvent final : public Object {
public:
    static constexpr Kind kKind = Kind::perf_event;

    /// How it was opened, beside what makes it fire.
    struct Opening {
        bool enabled = true;
        bool takes_records = false;  ///< PERF_COUNT_SW_BPF_OUTPUT.
        bool is_inherited = false;   ///< By the children of what it counts.
        std::int32_t processor = -1;
    };

    /// Context: task.
    PerfEvent(const event::EventAttributes& attributes, const Opening& opening);
    /// Context: task.
    ~PerfEvent() override;

    /// Takes a reference of the program. Errors: file_exists (has one), those of event::attach.
    /// Context: task.
    Result<void> set_program(bpf::Program& program, std::uint64_t cookie);
    /// Context: task.
    void clear_program() noexcept;
    /// Context: task.
    Result<void> set_enabled(bool enabled);
    /// A new period, or frequency if that is how the event was opened. Errors: invalid_argument (0,
    /// or the sign bit set).
    /// Context: task.
    Result<void> set_period(std::uint64_t value);

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

    /// Whether an array of perf events takes it: the kernel's rule.
    [[nodiscard]] bool may_be_entry() const noexcept { return !opening_.is_inherited; }
    /// As programs see it.
    [[nodiscard]] PerfPages& pages() noexcept { return pages_; }
    /// Copies records of this ring to where a user reads them; false if they are not for this
    /// event. Context: irq.
    bool take_records(const map::Map& ring) noexcept { return pages_.take(ring); }
    [[nodiscard]] bool is_polled() const noexcept override { return opening_.takes_records; }
    [[nodiscard]] bool holds_data() const noexcept override { return pages_.holds_data(); }

private:
    Result<void> update_attachment();
    void detach() noexcept;

    std::mutex lock_;
    const std::uint64_t id_;
    event::EventAttributes attributes_;
    const Opening opening_;
    bool enabled_;
    PerfPages pages_;
    bpf::Program* program_ = nullptr;
    std::uint64_t cookie_ = 0;
    std::optional<unsigned> event_;  ///< Of the event layer, while attached.
};

/// BPF_LINK_CREATE's result: keeps program and event, and parts them when it goes.
class LinkObject final : public Object {
public:
    static constexpr Kind kKind = Kind::link;

    /// Errors: as PerfEvent::set_program.
    /// Context: task.
    static Result<std::shared_ptr<LinkObject>> create(std::shared_ptr<PerfEvent> event,
                                                      std::shared_ptr<ProgramObject> program,
                                                      std::uint64_t cookie);
    /// Context: task.
    static std::shared_ptr<LinkObject> by_id(std::uint32_t id);
    /// The lowest id above `id`; 0 if none.
    /// Context: task.
    static std::uint32_t next_id(std::uint32_t id);

    LinkObject(std::shared_ptr<PerfEvent> event, std::shared_ptr<ProgramObject> program,
               std::uint32_t id) noexcept;
    /// Context: task.
    ~LinkObject() override;

    [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
    [[nodiscard]] const bpf::Program& program() const noexcept { return program_->program(); }

private:
    std::shared_ptr<PerfEvent> event_;
    std::shared_ptr<ProgramObject> program_;
    std::uint32_t id_;
};

/// perf_event_open(2). Returns a descriptor or a negative errno: -EFAULT, -E2BIG (attr of a size
/// or with a field that nobody knows), -EINVAL, -ENOENT (an event that is not served here).
/// Context: task.
long perf_event_open(std::uint64_t attr, std::int32_t pid, std::int32_t cpu, std::int32_t group,
                     std::uint64_t flags);

/// ioctl(2) on a perf event. Returns 0 or a negative errno; -ENOTTY for a request not served here.
/// Context: task.
long perf_event_ioctl(PerfEvent& event, std::uint64_t request, std::uint64_t argument);

}  // namespace taskwork::uapi
