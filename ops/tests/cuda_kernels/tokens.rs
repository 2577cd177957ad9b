//! Choosing and ordering tokens, against the operations on the CPU: they add in the same order.

use candle_core::{Device, Tensor};
use longmae_ops::{gather_tokens, prepend_class, restore_tokens};

use crate::buffer::{Buffer, ids as id_buffer};
use crate::common::{Draw, FP32, assert_all_near, assert_same_bits, ids, numbers, run, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

const DIMS: [usize; 3] = [3, 36, 516];

fn gather(e: &Emulator, tokens: &Tensor, ids: &Tensor, dy: &Tensor) -> Vec<Tensor> {
    let ((batch, length, dim), picked) = (tokens.dims3().unwrap(), ids.dim(1).unwrap());
    let (tokens, ids, dy) = (Buffer::<f32>::from(tokens), id_buffer(ids), Buffer::<f32>::from(dy));
    let (out, dx) =
        (Buffer::<f32>::unset(batch * picked * dim), Buffer::<f32>::unset(batch * length * dim));
    let (b, l, p, d) = (batch as i32, length as i32, picked as i32, dim as i32);
    let forward = (tokens.pointer(), ids.pointer(), out.pointer(), b, l, p, d);
    e.launch("gather_forward", [picked, batch, 1], 128, forward);
    let backward = (dy.pointer(), ids.pointer(), dx.pointer(), b, l, p, d);
    e.launch("gather_backward", [length, batch, 1], 128, backward);
    vec![out.tensor((batch, picked, dim)), dx.tensor((batch, length, dim))]
}

#[test]
fn tokens_are_gathered() {
    // More picks than a block has threads, one token often, others never.
    let many: Vec<u32> = (0..150).map(|i| (i * 7 % 5) as u32).collect();
    for ids in [ids(&[vec![4, 0, 6], vec![2, 2, 1]]), ids(&[many.clone(), many])] {
        for dim in DIMS {
            let inputs = [Draw::Full.tensor((2, 7, dim), 1)];
            let expected = run(Draw::Full, &inputs, |x| gather_tokens(&x[0], &ids, FP32));
            let dy = Draw::Full.tensor((2, ids.dim(1).unwrap(), dim), 99);
            let Some(found) = on_kernels(|e| gather(e, &inputs[0], &ids, &dy)) else { return };
            assert_same_bits("gather", &found, &expected.unwrap());
        }
    }
}

#[test]
fn an_id_beyond_the_sequence_gives_nan_and_gets_nothing() {
    let (tokens, dy) = (Draw::Full.tensor((1, 2, 4), 1), Draw::Full.tensor((1, 2, 4), 2));
    let beyond = ids(&[vec![2, 1]]);
    let Some(found) = on_kernels(|e| gather(e, &tokens, &beyond, &dy)) else { return };
    let out = numbers(&found[0]);
    assert!(
        out[..4].iter().all(|x| x.is_nan()) && out[4..].iter().all(|x| x.is_finite()),
        "{out:?}"
    );
    let slope = numbers(&found[1]);
    assert_eq!(slope[..4], [0.0; 4]);
    assert_eq!(slope[4..], numbers(&dy)[4..]);
}

/// The result and the gradient of positions.
fn prepend(e: &Emulator, inputs: &[Tensor], ids: Option<&Tensor>, dy: &Tensor) -> Vec<Tensor> {
    let ((batch, kept, dim), rows) = (inputs[0].dims3().unwrap(), inputs[2].dim(1).unwrap());
    let [patches, class, positions] = [0, 1, 2].map(|i| Buffer::<f32>::from(&inputs[i]));
    let ids = ids.map(id_buffer);
    let ids = ids.as_ref().map_or(std::ptr::null_mut(), Buffer::pointer);
    let dy = Buffer::<f32>::from(dy);
    let (out, slopes) =
        (Buffer::<f32>::unset(batch * (kept + 1) * dim), Buffer::<f32>::unset(rows * dim));
    let (b, k, r, d) = (batch as i32, kept as i32, rows as i32, dim as i32);
    let [patches, class, positions] = [patches.pointer(), class.pointer(), positions.pointer()];
    let forward = (patches, class, positions, ids, out.pointer(), b, k, r, d);
    e.launch("prepend_forward", [1 + kept, batch, 1], 128, forward);
    let backward = (dy.pointer(), ids, slopes.pointer(), b, k, r, d);
    e.launch("prepend_positions_backward", [rows, 1, 1], 128, backward);
    // A grid of one block: the class token's gradient alone.
    let class = Buffer::<f32>::unset(dim);
    let backward = (dy.pointer(), ids, class.pointer(), b, k, r, d);
    e.launch("prepend_positions_backward", [1, 1, 1], 128, backward);
    vec![
        out.tensor((batch, kept + 1, dim)),
        class.tensor((1, 1, dim)),
        slopes.tensor((1, rows, dim)),
    ]
}

#[test]
fn the_class_token_goes_in_front() {
    let some = ids(&[vec![4, 0, 1], vec![2, 4, 3]]);
    for dim in DIMS {
        for (ids, rows) in [(Some(&some), 6), (None, 4)] {
            let inputs = [
                Draw::Full.tensor((2, 3, dim), 1),
                Draw::Full.tensor((1, 1, dim), 2),
                Draw::Full.tensor((1, rows, dim), 3),
            ];
            let expected =
                run(Draw::Full, &inputs, |x| prepend_class(&x[0], &x[1], &x[2], ids, FP32));
            let mut expected = expected.unwrap();
            // The patches' gradient is a part of the result's.
            expected.remove(1);
            let dy = Draw::Full.tensor((2, 4, dim), 99);
            let Some(found) = on_kernels(|e| prepend(e, &inputs, ids, &dy)) else { return };
            assert_same_bits("prepend", &found, &expected);
        }
    }
}

fn restore(
    e: &Emulator,
    inputs: &[Tensor],
    ids: &Tensor,
    positions: Option<&Tensor>,
    dy: &Tensor,
) -> Vec<Tensor> {
    let ((batch, rows, dim), patches) = (inputs[0].dims3().unwrap(), ids.dim(1).unwrap());
    let (visible, mask) = (Buffer::<f32>::from(&inputs[0]), Buffer::<f32>::from(&inputs[1]));
    let (ids, dy) = (id_buffer(ids), Buffer::<f32>::from(dy));
    let positions = positions.map(Buffer::<f32>::from);
    let positions = positions.as_ref().map_or(std::ptr::null_mut(), Buffer::pointer);
    let out = Buffer::<f32>::unset(batch * (patches + 1) * dim);
    let (slopes, sums) =
        (Buffer::<f32>::unset(batch * rows * dim), Buffer::<f32>::unset(batch * dim));
    let (b, k, p, d) = (batch as i32, rows as i32 - 1, patches as i32, dim as i32);
    let forward =
        (visible.pointer(), mask.pointer(), ids.pointer(), positions, out.pointer(), b, k, p, d);
    e.launch("restore_forward", [1 + patches, batch, 1], 128, forward);
    let backward = (dy.pointer(), ids.pointer(), slopes.pointer(), sums.pointer(), b, k, p, d);
    e.launch("restore_backward", [rows + dim.div_ceil(32), batch, 1], 128, backward);
    let sums = sums.tensor((batch, dim)).sum_keepdim(0).unwrap().unsqueeze(0).unwrap();
    vec![out.tensor((batch, patches + 1, dim)), slopes.tensor((batch, rows, dim)), sums]
}

#[test]
fn tokens_are_restored() {
    // The second sample has an id twice and another not at all.
    let order = ids(&[vec![3, 0, 4, 1, 5, 2], vec![1, 5, 1, 4, 0, 3]]);
    for dim in DIMS {
        let inputs = [Draw::Full.tensor((2, 4, dim), 1), Draw::Full.tensor((1, 1, dim), 2)];
        let positions = Draw::Full.tensor((1, 7, dim), 3);
        for positions in [Some(&positions), None] {
            let expected =
                run(Draw::Full, &inputs, |x| restore_tokens(&x[0], &x[1], &order, positions, FP32));
            let expected = expected.unwrap();
            let dy = Draw::Full.tensor((2, 7, dim), 99);
            let Some(found) = on_kernels(|e| restore(e, &inputs, &order, positions, &dy)) else {
                return;
            };
            assert_same_bits("restore", &found[..2], &expected[..2]);
            // Summed warp by warp.
            assert_all_near("mask token", &found[2..], &expected[2..], within(1e-6, 0.0));
        }
    }
}

#[test]
fn restoring_beyond_the_patches_gives_nan_and_gets_nothing() {
    let inputs = [Draw::Full.tensor((1, 2, 4), 1), Draw::Full.tensor((1, 1, 4), 2)];
    let order = Tensor::new(&[[0_u32, 2, 9]], &Device::Cpu).unwrap();
    let dy = Tensor::ones((1, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let Some(found) = on_kernels(|e| restore(e, &inputs, &order, None, &dy)) else { return };
    let out = numbers(&found[0]);
    assert!(
        out[..12].iter().all(|x| x.is_finite()) && out[12..].iter().all(|x| x.is_nan()),
        "{out:?}"
    );
    assert_eq!(numbers(&found[1]), [1.0; 8]);
    assert_eq!(numbers(&found[2]), [1.0; 4]);
}
