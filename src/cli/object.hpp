// SPDX-License-Identifier: Apache-2.0
//
// OBJECT.bpf.o: looked at, loaded through libbpf, attached, and read at the end. Whatever is wrong
// with it comes back as one line that names it and the cause.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cli/report.hpp"
#include "event/event.hpp"

struct bpf_object;
struct bpf_link;

namespace taskwork::cli {

class Object {
public:
    /// Reads the file. Errors: cannot be read; not ELF; not BPF; no BTF; no perf_event program;
    /// what libbpf finds wrong with it. `verbose`: libbpf's messages go to standard error. Context:
    /// task.
    static Result<Object> open(const std::string& path, bool verbose);

    /// About how many descriptors load() and attach() take, the event of one thread included.
    /// Context: task.
    [[nodiscard]] unsigned descriptors() const noexcept;

    /// How many programs attach() attaches.
    /// Context: task.
    [[nodiscard]] unsigned programs() const noexcept;

    /// Creates maps, loads programs. Errors name what we do not have. The host has been started.
    /// Context: task.
    Result<void> load();
    /// Attaches each perf_event program to an event of its own with these attributes; its cookie is
    /// its index among the object's programs.
    /// Context: task.
    Result<void> attach(const event::EventAttributes& attributes);
    /// Context: task.
    void detach() noexcept;

    /// Takes what the ring buffers hold; each record goes to standard error if `print`, typed if
    /// the object has a struct with the map's name or that name and "_record", else in hex.
    /// Context: task.
    void consume_rings(bool print);
    [[nodiscard]] bool has_rings() const noexcept;

    /// Context: task.
    [[nodiscard]] std::vector<ProgramReport> program_reports() const;
    [[nodiscard]] std::vector<MapReport> map_reports() const;

    /// Lets go of maps and programs; works still in flight are cancelled.
    /// Context: task.
    void close() noexcept;

    Object(Object&&) noexcept;
    Object& operator=(Object&&) noexcept;
    ~Object();

private:
    struct State;
    explicit Object(std::unique_ptr<State> state) noexcept;
    std::unique_ptr<State> state_;
};

}  // namespace taskwork::cli
