// SPDX-License-Identifier: Apache-2.0
//
// A BPF object in the kernel under us, for what the kernel does to be measured beside ours: own
// maps and programs, nothing is attached or pinned, and all is gone with the process.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <functional>
#include <string>

namespace taskwork::bench {

class KernelObject {
public:
    /// Loads the object in `path`; `prepare`, if given, is called before, for sizes of maps. Fails
    /// with a reason, not only as the kernel refuses: see tests/reference/kernel.hpp.
    /// Context: task.
    explicit KernelObject(const char* path,
                          const std::function<void(bpf_object& object)>& prepare = {});
    ~KernelObject();
    KernelObject(const KernelObject&) = delete;
    KernelObject& operator=(const KernelObject&) = delete;

    /// Why it is not loaded; empty if it is. The rest is for one that is.
    [[nodiscard]] const std::string& why_not() const { return why_; }
    /// The object's section .data.shared, which programs and we read and write.
    template <class T>
    T& shared() {
        return *static_cast<T*>(shared_);
    }
    /// Descriptors.
    [[nodiscard]] int program(const char* name) const;
    [[nodiscard]] int map(const char* name) const;
    /// Runs a program of type syscall or raw_tp once; `lane`, if given, is what its context points
    /// to. 0 or -errno. Context: task.
    static int run(int program, const std::uint64_t* lane = nullptr);

private:
    static constexpr std::size_t kPage = 4096;
    bpf_object* object_ = nullptr;
    void* shared_ = nullptr;
    std::string why_;
};

}  // namespace taskwork::bench
