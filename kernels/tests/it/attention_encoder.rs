//! Attention of encoders: as the CPU computes it, whatever stands beside a sequence.

use outcrop_kernels::{
    Buffer, Device, EncoderAttention, attention_encoder, attention_encoder_tiles,
};
use outcrop_tensor::{Pool, SelfAttentionArgs, ops};

use crate::stand_in::{device, numbers};

const HEADS: usize = 2;

fn on_cpu(qkv: &[f32], lengths: &[usize], head_dim: usize, window: Option<usize>) -> Vec<f32> {
    let mut out = vec![0.0; qkv.len() / 3];
    let args = SelfAttentionArgs {
        qkv,
        lengths,
        heads: HEADS,
        head_dim,
        window,
        scale: 1.0 / (head_dim as f32).sqrt(),
        out: &mut out,
    };
    ops::self_attention(&Pool::new(1), args);
    out
}

fn on_device(
    device: &Device,
    qkv: &[f32],
    lengths: &[usize],
    head_dim: usize,
    window: Option<usize>,
) -> Vec<f32> {
    let tiles = Buffer::from_slice(device, &attention_encoder_tiles(lengths)).unwrap();
    let input = Buffer::from_slice(device, qkv).unwrap();
    let mut out = Buffer::<f32>::zeroed(device, qkv.len() / 3).unwrap();
    let attention = EncoderAttention {
        qkv: input.view(),
        out: out.view_mut(),
        tiles: tiles.view(),
        tokens: lengths.iter().sum(),
        heads: HEADS,
        head_dim,
        window,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    attention_encoder(device, attention).unwrap();
    out.to_vec().unwrap()
}

#[test]
fn whole_sequences_agree_with_the_cpu() {
    let Some((device, _alone)) = device("attention of encoders", true) else {
        return;
    };
    let cases = [(32, None), (64, Some(20)), (96, None), (128, Some(3))];
    for (schedule, (head_dim, window)) in cases.into_iter().enumerate() {
        outcrop_kernels_cpu::set_schedule(schedule as u32);
        let lengths = [70, 1, 30];
        let tokens: usize = lengths.iter().sum();
        let qkv = numbers(head_dim as u32, tokens * 3 * HEADS * head_dim);
        let found = on_device(&device, &qkv, &lengths, head_dim, window);
        let expected = on_cpu(&qkv, &lengths, head_dim, window);
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (a - b).abs() < 0.003,
                "heads of {head_dim}: {i} is {a}, expected {b}"
            );
        }
        // The last sequence alone: the same bits.
        let (alone, of) = (71 * 3 * HEADS * head_dim, 71 * HEADS * head_dim);
        let again = on_device(&device, &qkv[alone..], &[30], head_dim, window);
        assert_eq!(again, found[of..], "heads of {head_dim}");
    }
    outcrop_kernels_cpu::set_schedule(0);
}
