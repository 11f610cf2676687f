//! The stand-in as a driver: what cudarc sees.

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;
use outcrop_kernels_cpu::Device;

use crate::faults::alone;

#[test]
fn a_captured_graph_runs_as_often_as_it_is_launched() {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip("a_captured_graph") {
        return;
    }
    let context = CudaContext::new(0).unwrap();
    // SAFETY: one stream, in order.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let module = context
        .load_module(Ptx::from_binary(outcrop_kernels_cpu::image("faults")))
        .unwrap();
    let add = module.load_function("atomic_between_blocks").unwrap();
    let sum = stream.alloc_zeros::<f32>(1).unwrap();
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).unwrap();
    let config = LaunchConfig {
        grid_dim: (3, 1, 1),
        block_dim: (8, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the kernel takes one pointer to a float.
    unsafe {
        stream
            .launch_builder(&add)
            .arg(&sum)
            .launch(config)
            .unwrap()
    };
    let flags = sys::CUgraphInstantiate_flags(0);
    let graph = stream.end_capture(flags).unwrap().expect("a graph");
    assert_eq!(
        stream.clone_dtoh(&sum).unwrap(),
        [0.0],
        "capture runs nothing"
    );
    graph.launch().unwrap();
    graph.launch().unwrap();
    assert_eq!(stream.clone_dtoh(&sum).unwrap(), [48.0]);
}

#[test]
fn the_device_is_what_the_test_says() {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip("the_device") {
        return;
    }
    let memory = 1 << 20;
    outcrop_kernels_cpu::set_device(Device {
        count: 2,
        capability: 90,
        driver: 12080,
        memory,
    });
    let context = CudaContext::new(1).unwrap();
    assert_eq!(CudaContext::device_count().unwrap(), 2);
    assert_eq!(context.compute_capability().unwrap(), (9, 0));
    assert!(CudaContext::new(2).is_err());
    let stream = context.new_stream().unwrap();
    let held = stream.alloc_zeros::<u8>(700_000).unwrap();
    let refused = stream.alloc_zeros::<u8>(700_000).unwrap_err();
    assert_eq!(refused.0, sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    drop(held);
    assert!(stream.alloc_zeros::<u8>(700_000).is_ok());
    outcrop_kernels_cpu::set_device(Device::default());
}

#[test]
fn a_lost_device_fails_every_call() {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip("a_lost_device") {
        return;
    }
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    outcrop_kernels_cpu::lose_device();
    assert!(stream.synchronize().is_err());
    assert!(stream.alloc_zeros::<u8>(1).is_err());
    assert_eq!(
        outcrop_kernels_cpu::take_report().as_deref(),
        Some("the device was lost")
    );
    stream.synchronize().unwrap();
}

#[test]
fn a_module_holds_its_file_only() {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip("a_module") {
        return;
    }
    let context = CudaContext::new(0).unwrap();
    let other = context
        .load_module(Ptx::from_binary(outcrop_kernels_cpu::image("other")))
        .unwrap();
    let refused = other.load_function("with_barrier").unwrap_err();
    assert_eq!(refused.0, sys::CUresult::CUDA_ERROR_NOT_FOUND);
    assert!(
        context
            .load_module(Ptx::from_binary(b"no image\0".to_vec()))
            .is_err()
    );
    let ours = |(file, name): &(String, String)| file == "faults" && name == "with_barrier";
    assert!(outcrop_kernels_cpu::kernels().iter().any(ours));
}
