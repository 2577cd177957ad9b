//! Matrix products by cuBLASLt: operands in bf16 or f32, sums in f32 (never TF32), bias and sum in the same pass.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublaslt::{CudaBlasLT, MatmulShared, result, sys};
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::{DType, Result, Tensor, bail};

use super::place::Place;
use super::tensors::{address, address_or_null};
use crate::device::Product;

/// The library's handle, its room to work in, and the ways that it chose.
pub(super) struct Lt {
    blas: CudaBlasLT,
    /// Room to work in.
    room: (u64, usize),
    chosen: Mutex<HashMap<Problem, sys::cublasLtMatmulAlgo_t>>,
}

/// What the library chooses a way by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Problem {
    rows: usize,
    cols: usize,
    inner: usize,
    transposed: (bool, bool),
    operands: DType,
    out: DType,
    bias: bool,
    add: bool,
    /// By how many bytes the addresses of both operands, of what is added and of the result can be divided.
    aligned: [u32; 4],
}

/// Where everything lies.
struct Addresses {
    a: u64,
    b: u64,
    bias: u64,
    add: u64,
    out: u64,
}

/// Makes an error of the library's.
fn failed<T>(
    what: &str,
    problem: &Problem,
    found: std::result::Result<T, result::CublasError>,
) -> Result<T> {
    match found {
        Ok(value) => Ok(value),
        Err(error) => bail!("cuBLASLt, {what} of {problem:?}: {error}"),
    }
}

impl Lt {
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let blas = match CudaBlasLT::new(stream.clone()) {
            Ok(blas) => blas,
            Err(error) => bail!("cuBLASLt: {error}"),
        };
        // What NVIDIA recommends from Hopper on; older GPUs take as much as they need of it.
        const ROOM: usize = 32 << 20;
        let room = device.alloc_zeros::<u8>(ROOM)?;
        let address = room.device_ptr(&stream).0;
        // It lives as long as the process, as the handle does.
        room.leak();
        Ok(Self { blas, room: (address, ROOM), chosen: Mutex::default() })
    }

    /// The product of two matrices: see [`Product`].
    pub fn product(
        &self,
        a: &Tensor,
        b: &Tensor,
        product: &Product<'_>,
        out: DType,
    ) -> Result<Tensor> {
        let (rows, inner) = sides(a, product.transposed_a)?;
        let (depth, cols) = sides(b, product.transposed_b)?;
        if inner != depth || a.dtype() != b.dtype() {
            bail!("a product of {:?} {:?} and {:?} {:?}", a.dtype(), a.dims(), b.dtype(), b.dims());
        }
        if product.bias.is_some_and(|bias| bias.elem_count() != cols)
            || product.add.is_some_and(|add| add.dims() != [rows, cols])
        {
            bail!("a product of {rows} x {cols} with a bias or a sum of other sizes");
        }
        let result = Place::of(a)?.unset((rows, cols), out)?;
        let at = Addresses {
            a: address(a, a.dtype())?,
            b: address(b, b.dtype())?,
            bias: address_or_null(product.bias, out)?,
            add: address_or_null(product.add, out)?,
            out: address(&result, out)?,
        };
        let add = if product.add.is_some() { at.add } else { at.out };
        let problem = Problem {
            rows,
            cols,
            inner,
            transposed: (product.transposed_a, product.transposed_b),
            operands: a.dtype(),
            out,
            bias: product.bias.is_some(),
            add: product.add.is_some(),
            aligned: [at.a, at.b, add, at.out].map(alignment),
        };
        // SAFETY: the tensors have been found to be of these sizes, and live on; what runs later runs on the stream that
        // frees them.
        unsafe { self.run(&problem, &at)? };
        Ok(result)
    }

    /// # Safety
    /// Matrices of the problem's sizes lie at the addresses.
    unsafe fn run(&self, problem: &Problem, at: &Addresses) -> Result<()> {
        let call = Call::new(problem, at)?;
        let algorithm = self.algorithm(problem, &call)?;
        let (one, add) = (1.0_f32, if problem.add { 1.0_f32 } else { 0.0 });
        let from = if problem.add { at.add } else { at.out };
        let number = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
        // SAFETY: as the caller says; the descriptors live until the call returns. The library counts columns first: it
        // computes the transpose, whose left operand is `b`.
        let done = unsafe {
            result::matmul(
                *self.blas.handle(),
                call.description.0,
                number(&one),
                number(&add),
                at.b as *const c_void,
                call.b.0,
                at.a as *const c_void,
                call.a.0,
                from as *const c_void,
                call.out.0,
                at.out as *mut c_void,
                call.out.0,
                &raw const algorithm,
                self.room.0 as *mut c_void,
                self.room.1,
                self.blas.stream().cu_stream().cast(),
            )
        };
        failed("the product", problem, done)
    }

    fn algorithm(&self, problem: &Problem, call: &Call) -> Result<sys::cublasLtMatmulAlgo_t> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = chosen.get(problem) {
            return Ok(*known);
        }
        let preference = Preference::new(problem, self.room.1)?;
        // SAFETY: the descriptors are alive.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                *self.blas.handle(),
                call.description.0,
                call.b.0,
                call.a.0,
                call.out.0,
                call.out.0,
                preference.0,
            )
        };
        let algorithm = failed("looking for a way", problem, found)?.algo;
        chosen.insert(*problem, algorithm);
        Ok(algorithm)
    }
}

/// Rows and columns of a matrix as it is stored, or of its transpose.
fn sides(x: &Tensor, transposed: bool) -> Result<(usize, usize)> {
    let (rows, cols) = x.dims2()?;
    Ok(if transposed { (cols, rows) } else { (rows, cols) })
}

/// The largest power of two up to 256 that divides an address.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

fn library_type(dtype: DType) -> Result<sys::cudaDataType> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        other => bail!("products of {other:?}"),
    }
}

/// What the library wants to know of one product.
struct Call {
    description: Description,
    a: Layout,
    b: Layout,
    out: Layout,
}

impl Call {
    fn new(problem: &Problem, at: &Addresses) -> Result<Self> {
        let Problem { rows, cols, inner, transposed, .. } = *problem;
        let of = |transposed: bool, rows: usize, cols: usize| {
            if transposed { (cols, rows) } else { (rows, cols) }
        };
        let (a, b) = (of(transposed.0, rows, inner), of(transposed.1, inner, cols));
        Ok(Self {
            description: Description::new(problem, at.bias)?,
            a: Layout::new(problem, problem.operands, a)?,
            b: Layout::new(problem, problem.operands, b)?,
            out: Layout::new(problem, problem.out, (rows, cols))?,
        })
    }
}

/// A matrix stored row by row, which to the library is its transpose stored column by column.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(problem: &Problem, dtype: DType, (rows, cols): (usize, usize)) -> Result<Self> {
        let made = result::create_matrix_layout(
            library_type(dtype)?,
            cols as u64,
            rows as u64,
            cols as i64,
        );
        Ok(Self(failed("a layout", problem, made)?))
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and is destroyed once. That it cannot be is no reason to end.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(problem: &Problem, bias: u64) -> Result<Self> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let made = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        );
        let own = Self(failed("a description", problem, made)?);
        let (of_a, of_b) = problem.transposed;
        own.set(problem, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(of_b))?;
        own.set(problem, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(of_a))?;
        if problem.bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            own.set(problem, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            own.set(problem, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
            let dtype = library_type(problem.out)?;
            own.set(problem, Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &dtype)?;
        }
        Ok(own)
    }

    fn set<T>(
        &self,
        problem: &Problem,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> Result<()> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: the description is alive, and the value is of the size told.
        let set =
            unsafe { result::set_matmul_desc_attribute(self.0, attribute, from, size_of::<T>()) };
        failed("an attribute", problem, set)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: as of layouts.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new(problem: &Problem, room: usize) -> Result<Self> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let own = Self(failed("preferences", problem, result::create_matmul_pref())?);
        own.set(problem, Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room)?;
        let [a, b, add, out] = problem.aligned;
        own.set(problem, Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b)?;
        own.set(problem, Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a)?;
        own.set(problem, Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &add)?;
        own.set(problem, Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out)?;
        Ok(own)
    }

    fn set<T>(
        &self,
        problem: &Problem,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<()> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: the preferences are alive, and the value is of the size told.
        let set =
            unsafe { result::set_matmul_pref_attribute(self.0, attribute, from, size_of::<T>()) };
        failed("a preference", problem, set)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: as of layouts.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
