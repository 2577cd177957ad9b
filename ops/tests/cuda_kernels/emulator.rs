//! The kernels as a library for this machine, and how they are launched.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use libloading::Library;

/// The kernels; one launch at a time.
pub struct Emulator {
    library: Library,
    /// Whether blocks and threads take their turns from the last to the first.
    backwards: Cell<bool>,
}

static EMULATOR: LazyLock<Option<Mutex<Emulator>>> = LazyLock::new(|| {
    compile().map(|library| Mutex::new(Emulator { library, backwards: Cell::new(false) }))
});

/// The kernels, to one user at a time; none, after a message, where there is no C++ compiler.
pub fn emulator() -> Option<MutexGuard<'static, Emulator>> {
    Some(EMULATOR.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn compile() -> Option<Library> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (kernels, emulator) =
        (root.join("src/cuda/kernels"), root.join("tests/cuda_kernels/emulator"));
    let library =
        std::env::temp_dir().join(format!("longmae-cuda-kernels-{}.so", std::process::id()));
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let mut command = Command::new(&compiler);
    command.args(["-std=c++17", "-O2", "-fno-strict-aliasing", "-fPIC", "-shared", "-w"]);
    command.args(["-DLONGMAE_EMULATED", "-include", "emulator.h", "-x", "c++"]);
    command.arg("-I").arg(&emulator).arg("-I").arg(&kernels).arg("-o").arg(&library);
    command.arg(kernels.join("kernels.cu"));
    command.args(["faults.cu", "emulator.cpp"].map(|file| emulator.join(file)));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!(
                "skipped: the kernels are not tested without a C++ compiler ({compiler}: {error})"
            );
            return None;
        }
    };
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: what the library does when it is loaded is to set up its statics.
    let loaded = unsafe { Library::new(&library) }.unwrap();
    // It stays loaded without its file.
    std::fs::remove_file(&library).unwrap();
    Some(loaded)
}

/// A kernel's arguments, by value: pointers, `i32`, `usize` and `f32`, exactly as it declares them.
pub trait Arguments: Copy {
    /// Calls a function with them.
    ///
    /// # Safety
    /// It takes arguments of these types, and may do with them what it does.
    unsafe fn call(self, kernel: *const c_void);
}

macro_rules! arguments {
    ($first:ident $($name:ident)*) => {
        impl<$first: Copy, $($name: Copy),*> Arguments for ($first, $($name,)*) {
            #[allow(non_snake_case, reason = "values are named as their types")]
            unsafe fn call(self, kernel: *const c_void) {
                // SAFETY: the caller's promise.
                unsafe {
                    let kernel = std::mem::transmute::<
                        *const c_void,
                        unsafe extern "C" fn($first, $($name),*),
                    >(kernel);
                    let ($first, $($name,)*) = self;
                    kernel($first, $($name),*);
                }
            }
        }
        arguments!($($name)*);
    };
    () => {};
}
arguments!(A B C D E F G H I J K L);

type Launch = unsafe extern "C" fn(
    *const u32,
    u32,
    bool,
    unsafe extern "C" fn(*const c_void),
    *const c_void,
) -> *const c_char;

/// A launch, as each thread sees it.
struct Call<A> {
    kernel: *const c_void,
    arguments: A,
}

unsafe extern "C" fn one_thread<A: Arguments>(call: *const c_void) {
    // SAFETY: `launch` passes a `Call` that it keeps, for a kernel with these arguments.
    unsafe {
        let call = &*call.cast::<Call<A>>();
        call.arguments.call(call.kernel);
    }
}

impl Emulator {
    /// Whether blocks and threads take their turns from the last to the first, from now on.
    pub fn set_backwards(&self, backwards: bool) {
        self.backwards.set(backwards);
    }

    /// Runs a kernel on a grid of `[x, y, z]` blocks of `threads`. Its arguments must be of the types that it declares, and
    /// its pointers good for what it reads and writes.
    pub fn launch<A: Arguments>(&self, kernel: &str, grid: [usize; 3], threads: u32, arguments: A) {
        let result = self.try_launch(kernel, grid, threads, arguments);
        result.unwrap_or_else(|error| panic!("{kernel}: {error}"));
    }

    /// The same, of a kernel that may do what no kernel may.
    pub fn try_launch<A: Arguments>(
        &self,
        kernel: &str,
        grid: [usize; 3],
        threads: u32,
        arguments: A,
    ) -> Result<(), String> {
        let grid = grid.map(|blocks| u32::try_from(blocks).unwrap());
        // SAFETY: the library's functions are of these types; the tests keep to the kernels' signatures, and the memory
        // that they point to outlives the launch.
        unsafe {
            let pointer = self.library.get::<*const c_void>(kernel.as_bytes());
            let kernel = *pointer.unwrap_or_else(|error| panic!("{kernel}: {error}"));
            let launch = self.library.get::<Launch>(b"emulator_launch").unwrap();
            let call = Call { kernel, arguments };
            let (call, backwards) = (&raw const call, self.backwards.get());
            let error = launch(grid.as_ptr(), threads, backwards, one_thread::<A>, call.cast());
            match error.is_null() {
                true => Ok(()),
                false => Err(CStr::from_ptr(error).to_string_lossy().into_owned()),
            }
        }
    }
}
