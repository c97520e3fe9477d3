// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/debugger.hpp"

#include <elf.h>

#include <array>
#include <cstring>
#include <mutex>

#include "bpf/jit/frames.hpp"
#include "bpf/jit/switches.hpp"
#include "bpf/program.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf::jit {

/// jit_code_entry of gdb's interface; the object file stands behind it.
struct DebugObject {
    DebugObject* next;
    DebugObject* previous;
    const void* file;
    std::uint64_t file_bytes;
};

namespace {

enum class Action : std::uint32_t { none, add, remove };

/// jit_descriptor of gdb's interface.
struct Descriptor {
    std::uint32_t version;
    Action action;
    DebugObject* relevant;
    DebugObject* first;
};

}  // namespace
}  // namespace taskwork::bpf::jit

// gdb's names.
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
extern "C" {

[[gnu::used]] constinit taskwork::bpf::jit::Descriptor __jit_debug_descriptor{
    .version = 1,
    .action = taskwork::bpf::jit::Action::none,
    .relevant = nullptr,
    .first = nullptr,
};

/// gdb has a breakpoint here.
[[gnu::noinline, gnu::used]] void __jit_debug_register_code() { asm volatile("" ::: "memory"); }

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)

namespace taskwork::bpf::jit {

namespace {

/// The host's own book.
struct Objects {
    std::mutex lock;
    Named<DebugObject*> named;
};
/// Never destroyed: the worker may outlive main's statics.
Objects& objects() {
    static auto* instance = new Objects;
    return *instance;
}

void tell(Action action, DebugObject& object) noexcept {
    __jit_debug_descriptor.action = action;
    __jit_debug_descriptor.relevant = &object;
    __jit_debug_register_code();
    __jit_debug_descriptor.action = Action::none;
    __jit_debug_descriptor.relevant = nullptr;
}

/// An ELF file: the code's range, its frames and names; gdb takes the code from the process.
class ObjectFile {
public:
    explicit ObjectFile(const Symbols& symbols) {
        constexpr Elf64_Word code_section = 1;
        Elf64_Ehdr header{};
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_EXEC;
        header.e_machine = kProcessor.elf_machine;
        header.e_version = EV_CURRENT;
        header.e_ehsize = sizeof(header);
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = static_cast<Elf64_Half>(sections_.size());
        header.e_shstrndx = static_cast<Elf64_Half>(sections_.size() - 1);
        append(&header, sizeof(header));

        const Frames frames =
            frames_of(symbols.begin, symbols.end - symbols.begin, Frames::Section::debug_frame);
        std::string names(1, '\0');
        std::vector<Elf64_Sym> entries(1);
        for (const Symbol& function : symbols.functions) {
            Elf64_Sym entry{};
            entry.st_name = static_cast<Elf64_Word>(names.size());
            entry.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
            entry.st_shndx = code_section;
            entry.st_value = function.address;
            entry.st_size = function.bytes;
            entries.push_back(entry);
            names.append(function.name).push_back('\0');
        }
        Elf64_Shdr& code = add(".text", SHT_NOBITS, nullptr, 0);
        code.sh_flags = SHF_ALLOC | SHF_EXECINSTR;
        code.sh_addr = symbols.begin;
        code.sh_size = symbols.end - symbols.begin;
        add(".debug_frame", SHT_PROGBITS, &frames, offsetof(Frames, end));
        Elf64_Shdr& table =
            add(".symtab", SHT_SYMTAB, entries.data(), entries.size() * sizeof(entries[0]));
        table.sh_entsize = sizeof(entries[0]);
        table.sh_link = static_cast<Elf64_Word>(count_);
        table.sh_info = 1;  // All but the first can be seen from outside.
        add(".strtab", SHT_STRTAB, names.data(), names.size());
        Elf64_Shdr& last = add(".shstrtab", SHT_STRTAB, nullptr, 0);
        append(section_names_.data(), section_names_.size());
        last.sh_size = section_names_.size();

        align();
        header.e_shoff = bytes_.size();
        std::memcpy(bytes_.data(), &header, sizeof(header));
        append(sections_.data(), sizeof(sections_));
    }
    [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

private:
    void append(const void* data, std::size_t size) {
        bytes_.append(static_cast<const char*>(data), size);
    }
    void align() { bytes_.resize((bytes_.size() + 7) & ~std::size_t{7}); }
    Elf64_Shdr& add(const char* name, Elf64_Word type, const void* data, std::size_t size) {
        align();
        Elf64_Shdr& section = sections_[count_++];
        section.sh_name = static_cast<Elf64_Word>(section_names_.size());
        section.sh_type = type;
        section.sh_offset = bytes_.size();
        section.sh_size = size;
        section.sh_addralign = type == SHT_STRTAB ? 1 : 8;
        section_names_.append(name).push_back('\0');
        append(data, size);
        return section;
    }

    std::string bytes_;
    std::string section_names_ = std::string(1, '\0');
    std::array<Elf64_Shdr, 6> sections_{};
    std::size_t count_ = 1;  ///< The first is none.
};

}  // namespace

void name_for_debugger(const Symbols& symbols) {
    assume_task();
    const ObjectFile file(symbols);
    const std::size_t bytes = file.bytes().size();
    auto* const object = static_cast<DebugObject*>(
        sync::Arena::allocate(sizeof(DebugObject) + bytes, alignof(DebugObject)));
    if (object == nullptr) {
        return;
    }
    platform::Atomic<DebugObject*>& first = ProgramTable::get().debug_objects;
    Objects& book = objects();
    const std::scoped_lock guard(book.lock);
    DebugObject* list = first.load(std::memory_order_relaxed);
    if (list == nullptr) {
        book.named.clear();  // Of an earlier domain.
    }
    book.named.replace(symbols.begin, symbols.end, [&](DebugObject* gone) {
        assume_task();
        (gone->previous != nullptr ? gone->previous->next : list) = gone->next;
        if (gone->next != nullptr) {
            gone->next->previous = gone->previous;
        }
        __jit_debug_descriptor.first = list;
        tell(Action::remove, *gone);
        sync::Arena::release(gone, sizeof(DebugObject) + gone->file_bytes);
    }) = object;
    DebugObject* last = list;
    while (last != nullptr && last->next != nullptr) {
        last = last->next;
    }
    std::memcpy(static_cast<void*>(object + 1), file.bytes().data(), bytes);
    *object = {nullptr, last, object + 1, bytes};
    (last != nullptr ? last->next : list) = object;
    first.store(list, std::memory_order_release);
    __jit_debug_descriptor.first = list;
    tell(Action::add, *object);
}

void show_debugger(DebugObject* first) noexcept {
    assume_task();
    if (first == nullptr || !is_on(Switch::unwind)) {
        return;
    }
    __jit_debug_descriptor.first = first;
    for (DebugObject* object = first; object != nullptr; object = object->next) {
        tell(Action::add, *object);
    }
}

void hide_from_debugger() noexcept { __jit_debug_descriptor.first = nullptr; }

}  // namespace taskwork::bpf::jit
