#!/usr/bin/env python3
"""Peers on the GPU machine: what torch (and FlashInfer, if it is there) reach on the shapes outcrop cares about.

    python3 peers_gpu.py --out $OUT/peers.jsonl [--only ceilings,prefill,decode,search,sample,gemv,ops,flashinfer,e2e] [--quick] [--budget 480]

One JSON object a line: group, name, impl, shape, median_us, p10_us, p90_us, samples, and where they make sense
bytes/flops (the least the operation must move/do), gbps, tflops, frac_bw (of the measured read ceiling), frac_mm (of the measured GEMM ceiling).
Medians come from CUDA events around a captured graph of several calls (eager when capture fails: "timing": "eager").
Inputs rotate over enough copies that L2 (60 MB) cannot hold them. --dry runs tiny shapes on the CPU, to test the script itself.
"""

import argparse, contextlib, gc, json, math, os, statistics, sys, time, traceback

ap = argparse.ArgumentParser()
ap.add_argument("--out", default="-")
ap.add_argument("--only", default="")
ap.add_argument("--budget", type=float, default=480.0, help="seconds; groups and cases past it are skipped")
ap.add_argument("--quick", action="store_true")
ap.add_argument("--dry", action="store_true")
args = ap.parse_args()
T0 = time.time()
import torch
import torch.nn.functional as F

DRY = args.dry
if not DRY and not torch.cuda.is_available():
    sys.exit("no CUDA device (use --dry to test the script on the CPU)")
DEV = "cpu" if DRY else "cuda"
torch.manual_seed(1)
torch.set_grad_enabled(False)
L2 = 64 << 20
out_f = sys.stdout if args.out == "-" else open(args.out, "w")
ceil = {"read_gbps": None, "copy_gbps": None, "bf16_tflops": None}
rows = []


def left():
    return args.budget - (time.time() - T0)


def emit(**r):
    if r.get("bytes") and r.get("median_us"):
        r["gbps"] = round(r["bytes"] / r["median_us"] / 1e3, 1)
        c = ceil["read_gbps"] or ceil["copy_gbps"]
        if c:
            r["frac_bw"] = round(r["gbps"] / c, 3)
    if r.get("flops") and r.get("median_us"):
        r["tflops"] = round(r["flops"] / r["median_us"] / 1e6, 1)
        if ceil["bf16_tflops"]:
            r["frac_mm"] = round(r["tflops"] / ceil["bf16_tflops"], 3)
    rows.append(r)
    out_f.write(json.dumps(r) + "\n")
    out_f.flush()


def sync():
    if not DRY:
        torch.cuda.synchronize()


def free():
    gc.collect()
    if not DRY:
        torch.cuda.empty_cache()


def one_time(fn, n):
    if DRY:
        t = time.perf_counter()
        for i in range(n):
            fn(i)
        return (time.perf_counter() - t) * 1e6 / n
    a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    a.record()
    for i in range(n):
        fn(i)
    b.record()
    b.synchronize()
    return a.elapsed_time(b) * 1e3 / n


def bench(fn, nsets=1, graph=True, samples=None, min_sample_us=400.0, max_s=4.0):
    """median microseconds of one fn(i) call; i rotates over input sets."""
    samples = samples or (7 if args.quick else 15)
    if DRY:
        samples = 2
    for i in range(max(2, min(nsets, 3))):
        fn(i % nsets)
    sync()
    est = max(one_time(lambda i: fn(i % nsets), 2 if not DRY else 1), 0.5)
    inner = max(1, min(200, math.ceil(min_sample_us / est)))
    if nsets > 1:
        inner = max(nsets, inner // nsets * nsets) if est * nsets < 2e5 else inner
    if DRY:
        inner = 1
    samples = max(3, min(samples, int(max_s * 1e6 / (est * inner)) or 3))
    how, g = "eager", None
    if graph and not DRY:
        try:
            s = torch.cuda.Stream()
            s.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(s):
                fn(0)
            torch.cuda.current_stream().wait_stream(s)
            g = torch.cuda.CUDAGraph()
            with torch.cuda.graph(g):
                keep = [fn(i % nsets) for i in range(inner)]  # keep outputs alive: no reuse between calls
            del keep
            how = "graph"
        except Exception as e:
            g = None
            try:
                torch.cuda.synchronize()
            except Exception:
                raise RuntimeError(f"capture broke the context: {e}")
    t = []
    if g is not None:
        g.replay()
        sync()
        for _ in range(samples):
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record()
            g.replay()
            b.record()
            b.synchronize()
            t.append(a.elapsed_time(b) * 1e3 / inner)
        del g
    else:
        for _ in range(samples):
            t.append(one_time(lambda i: fn(i % nsets), inner))
    t.sort()
    return dict(
        median_us=round(statistics.median(t), 3),
        p10_us=round(t[len(t) // 10], 3),
        p90_us=round(t[min(len(t) - 1, len(t) * 9 // 10)], 3),
        samples=len(t),
        inner=inner,
        timing=how,
    )


def case(group, name, impl, shape, fn, nsets=1, **extra):
    if left() < 5:
        emit(group=group, name=name, impl=impl, shape=shape, skipped="budget")
        return None
    graph = extra.pop("graph", True)
    try:
        r = bench(fn, nsets, graph=graph)
        emit(group=group, name=name, impl=impl, shape=shape, **r, **extra)
        return r
    except Exception as e:
        emit(group=group, name=name, impl=impl, shape=shape, error=f"{type(e).__name__}: {str(e)[:300]}")
        free()
        return None


def rel(a, b):
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def nsets_for(nbytes, cap=8):
    return max(1, min(cap, math.ceil(4 * L2 / max(nbytes, 1))))


# ------------------------------------------------------------------ groups
def g_ceilings():
    n = (1 << 16) if DRY else (1 << 31)  # bf16 elements: 4 GiB
    src = torch.empty(n, device=DEV, dtype=torch.bfloat16)
    for c in src.split(1 << 28):
        c.normal_()
    dst = torch.empty_like(src)
    r = case("ceilings", "copy", "torch.copy_", dict(bytes_one_way=n * 2), lambda i: dst.copy_(src), bytes=n * 4)
    if r:
        ceil["copy_gbps"] = round(n * 4 / r["median_us"] / 1e3, 1)
    del dst
    free()
    try:
        if DRY:
            raise RuntimeError("dry")
        import triton, triton.language as tl

        # the body lives in a file: triton.jit reads source
        code = (
            "import triton, triton.language as tl\n@triton.jit\ndef rd(x, o, n, B: tl.constexpr, IT: tl.constexpr):\n"
            "    p = tl.program_id(0).to(tl.int64)\n    acc = tl.zeros((B,), tl.int32)\n    base = p * B * IT\n"
            "    for k in tl.static_range(IT):\n        off = base + k * B + tl.arange(0, B)\n        acc ^= tl.load(x + off, mask=off < n, other=0)\n"
            "    r = tl.xor_sum(acc, 0)\n    tl.store(o + p, r)\n"
        )
        import importlib.util, tempfile

        d = tempfile.mkdtemp()
        open(os.path.join(d, "oc_rd.py"), "w").write(code)
        spec = importlib.util.spec_from_file_location("oc_rd", os.path.join(d, "oc_rd.py"))
        mod = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(mod)
        x32 = src.view(torch.int32)
        m = x32.numel()
        best = None
        for B, IT, w in ((2048, 8, 4), (4096, 8, 8), (4096, 4, 8)):
            o = torch.empty((m + B * IT - 1) // (B * IT), device=DEV, dtype=torch.int32)
            r = case(
                "ceilings",
                "read",
                f"triton xor B{B} IT{IT}",
                dict(bytes=m * 4),
                lambda i: mod.rd[(o.numel(),)](x32, o, m, B=B, IT=IT, num_warps=w),
                bytes=m * 4,
            )
            if r:
                best = max(best or 0, m * 4 / r["median_us"] / 1e3)
        if best:
            ceil["read_gbps"] = round(best, 1)
    except Exception as e:
        emit(group="ceilings", name="read", impl="triton", shape={}, error=f"{type(e).__name__}: {str(e)[:300]}")
    case(
        "ceilings", "read", "torch.sum fp32 view", dict(bytes=n * 2), lambda i: src.view(torch.int32).sum(), bytes=n * 2
    )
    del src
    free()
    for m in ((64,) if DRY else (4096, 8192)):
        a, b = torch.randn(m, m, device=DEV, dtype=torch.bfloat16), torch.randn(m, m, device=DEV, dtype=torch.bfloat16)
        r = case("ceilings", "gemm_bf16", "torch.matmul", dict(m=m, n=m, k=m), lambda i: a @ b, flops=2 * m**3)
        if r:
            ceil["bf16_tflops"] = round(max(ceil["bf16_tflops"] or 0, 2 * m**3 / r["median_us"] / 1e6), 1)
        del a, b
    emit(group="ceilings", name="summary", impl="-", shape={}, **ceil)
    free()


def sdp_backends():
    from torch.nn.attention import SDPBackend

    return (
        [
            (n, getattr(SDPBackend, n))
            for n in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
            if hasattr(SDPBackend, n)
        ]
        if not DRY
        else [("MATH", SDPBackend.MATH)]
    )


HQ, HKV, D = 32, 8, 128


def sdpa(q, k, v, causal, be):
    from torch.nn.attention import sdpa_kernel

    with sdpa_kernel(be):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def check_sdpa():
    q, k, v = (torch.randn(1, h, 256, D, device=DEV, dtype=torch.bfloat16) for h in (HQ, HKV, HKV))
    ref = F.scaled_dot_product_attention(
        q.float(), k.float().repeat_interleave(4, 1), v.float().repeat_interleave(4, 1), is_causal=True
    )
    for n, be in sdp_backends():
        try:
            emit(group="prefill", name="check", impl=n, shape=dict(S=256), rel_err=rel(sdpa(q, k, v, True, be), ref))
        except Exception as e:
            emit(group="prefill", name="check", impl=n, shape=dict(S=256), error=str(e)[:200])


def g_prefill():
    check_sdpa()
    shapes = [(1, 64)] if DRY else [(1, 512), (1, 2048), (1, 8192), (1, 32768), (8, 2048), (16, 1024)]
    if args.quick:
        shapes = shapes[:4]
    for B, S in shapes:
        # llama layout: [B, S, H, D] memory, seen as [B, H, S, D]
        q, k, v = (torch.randn(B, S, h, D, device=DEV, dtype=torch.bfloat16).transpose(1, 2) for h in (HQ, HKV, HKV))
        fl = 4 * B * HQ * S * S * D // 2
        for n, be in sdp_backends():
            if n == "EFFICIENT_ATTENTION" and S > 8192:
                continue
            r = case(
                "prefill",
                "sdpa_causal_gqa",
                n,
                dict(B=B, S=S, Hq=HQ, Hkv=HKV, D=D),
                lambda i: sdpa(q, k, v, True, be),
                flops=fl,
            )
            if r is None and left() > 5:  # a backend without GQA: give it repeated K/V (not timed)
                ke, ve = (x.repeat_interleave(HQ // HKV, 1) for x in (k, v))
                case(
                    "prefill",
                    "sdpa_causal_kvrepeated",
                    n,
                    dict(B=B, S=S, Hq=HQ, Hkv=HQ, D=D),
                    lambda i: sdpa(q, ke, ve, True, be),
                    flops=fl,
                )
                del ke, ve
        del q, k, v
        free()
    # chunked prefill: 512 or 2048 new tokens on a long cache (lower-right causal)
    try:
        from torch.nn.attention.bias import causal_lower_right

        for Sq, Sk in ([(16, 64)] if DRY else [(512, 8192), (2048, 32768)]):
            q = torch.randn(1, HQ, Sq, D, device=DEV, dtype=torch.bfloat16)
            k, v = (torch.randn(1, HQ, Sk, D, device=DEV, dtype=torch.bfloat16) for _ in range(2))
            bias = causal_lower_right(Sq, Sk)
            fl = 4 * HQ * D * (Sq * (Sk - Sq) + Sq * Sq // 2)
            case(
                "prefill",
                "sdpa_chunked_kvrepeated",
                "causal_lower_right(default)",
                dict(B=1, Sq=Sq, Sk=Sk, Hq=HQ, D=D),
                lambda i: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
                flops=fl,
            )
            del q, k, v
            free()
    except Exception as e:
        emit(group="prefill", name="sdpa_chunked", impl="-", shape={}, error=str(e)[:300])
    # FA3 through torch, where the build and an installed flash_attn_interface allow it
    try:
        import torch.nn.attention as A

        if hasattr(A, "list_flash_attention_impls"):
            emit(
                group="prefill",
                name="flash_impls",
                impl="-",
                shape={},
                impls=[str(x) for x in A.list_flash_attention_impls()],
            )
        if hasattr(A, "activate_flash_attention_impl") and not DRY:
            from torch.nn.attention import SDPBackend

            A.activate_flash_attention_impl("FA3")
            q, k, v = (
                torch.randn(1, 8192, h, D, device=DEV, dtype=torch.bfloat16).transpose(1, 2) for h in (HQ, HQ, HQ)
            )
            case(
                "prefill",
                "sdpa_causal",
                "FA3 via torch",
                dict(B=1, S=8192, Hq=HQ, Hkv=HQ, D=D),
                lambda i: sdpa(q, k, v, True, SDPBackend.FLASH_ATTENTION),
                flops=4 * HQ * 8192 * 8192 * D // 2,
            )
            if hasattr(A, "restore_flash_attention_impl"):
                A.restore_flash_attention_impl()
    except Exception as e:
        emit(
            group="prefill",
            name="sdpa_causal",
            impl="FA3 via torch",
            shape={},
            error=f"{type(e).__name__}: {str(e)[:200]}",
        )


def g_decode():
    shapes = (
        [(2, 64)]
        if DRY
        else [(1, 1024), (1, 8192), (1, 32768), (1, 131072), (8, 8192), (32, 2048), (32, 8192), (128, 2048)]
    )
    if args.quick:
        shapes = shapes[1:6]
    for B, L in shapes:
        nb = 2 * B * HKV * L * D * 2
        ns = nsets_for(nb)
        sets = [
            tuple(torch.randn(B, L, HKV, D, device=DEV, dtype=torch.bfloat16).transpose(1, 2) for _ in range(2))
            for _ in range(ns)
        ]
        q1 = torch.randn(B, HQ, 1, D, device=DEV, dtype=torch.bfloat16)
        qp = q1.view(B, HKV, HQ // HKV, D)  # the group of query heads as "sequence": the same numbers, K/V read once
        for n, be in sdp_backends():
            if n == "EFFICIENT_ATTENTION":
                continue
            sh = dict(B=B, L=L, Hq=HQ, Hkv=HKV, D=D)
            case("decode", "sdpa_gqa", n, sh, lambda i: sdpa(q1, sets[i][0], sets[i][1], False, be), ns, bytes=nb)
            case(
                "decode", "sdpa_packed_gqa", n, sh, lambda i: sdpa(qp, sets[i][0], sets[i][1], False, be), ns, bytes=nb
            )
        del sets
        free()


def g_search():
    dim = 384
    for N in ([4096] if DRY else ([1_000_000] if args.quick else [1_000_000, 10_000_000])):
        X = torch.empty(N, dim, device=DEV, dtype=torch.float16)
        for c in X.split(1 << 20):
            c.copy_(F.normalize(torch.randn(c.shape, device=DEV), dim=1))
        for B in (1, 8, 64):
            Q = F.normalize(torch.randn(B, dim, device=DEV), dim=1).half()
            nb = N * dim * 2
            sh = dict(N=N, dim=dim, B=B, dtype="f16")
            case("search", "scores_only", "torch.matmul", sh, lambda i: Q @ X.t(), bytes=nb, flops=2 * B * N * dim)
            if B == 1:
                case("search", "scores_only", "torch.mv", sh, lambda i: torch.mv(X, Q[0]), bytes=nb)
            S = Q @ X.t()
            for k in (10, 100):
                case(
                    "search",
                    "topk_only",
                    "torch.topk",
                    dict(sh, k=k),
                    lambda i: torch.topk(S, k, dim=1),
                    bytes=S.numel() * 2,
                )
                case(
                    "search",
                    "matmul_topk",
                    "torch",
                    dict(sh, k=k),
                    lambda i: torch.topk(Q @ X.t(), k, dim=1),
                    bytes=nb,
                    flops=2 * B * N * dim,
                )
            # two-stage top-k: per 4096-row tile first, then the winners; what a fused kernel does, in torch ops
            t = 4096 if N >= 4096 * 8 else 512
            nt = N // t * t

            def two(i):
                s = Q @ X.t()
                v, ix = s[:, :nt].reshape(B, nt // t, t).topk(10, dim=2)
                ix = ix + (torch.arange(nt // t, device=DEV) * t)[None, :, None]
                v2, j = v.reshape(B, -1).topk(10, dim=1)
                return v2, ix.reshape(B, -1).gather(1, j)

            case("search", "matmul_topk_tiled", "torch", dict(sh, k=10, tile=t), two, bytes=nb, flops=2 * B * N * dim)
            # metadata bitmask at 10% pass: masked_fill then topk
            m = torch.rand(N, device=DEV) < 0.9
            case(
                "search",
                "matmul_mask_topk",
                "torch",
                dict(sh, k=10, keep=0.1),
                lambda i: torch.topk((Q @ X.t()).masked_fill_(m, float("-inf")), 10, dim=1),
                bytes=nb,
            )
            del S, m
            free()
        try:  # int8: torch._int_mm wants M > 16
            X8 = (X * 127).round_().to(torch.int8)
            Q8 = torch.randint(-127, 127, (64, dim), device=DEV, dtype=torch.int8)
            case(
                "search",
                "scores_only",
                "torch._int_mm",
                dict(N=N, dim=dim, B=64, dtype="i8"),
                lambda i: torch._int_mm(Q8, X8.t()),
                bytes=N * dim,
            )
            del X8
        except Exception as e:
            emit(group="search", name="scores_only", impl="torch._int_mm", shape=dict(N=N), error=str(e)[:200])
        del X
        free()


def g_sample():
    V = 1000 if DRY else 128256
    for B in ((2,) if DRY else (1, 32, 256)):
        nb = B * V * 4
        ns = nsets_for(nb, 4)
        Ls = [torch.randn(B, V, device=DEV) * 3 for _ in range(ns)]
        sh = dict(B=B, V=V, dtype="f32")
        k, p = 40, 0.9
        tk, tp = torch.full((B,), k, device=DEV), torch.full((B,), p, device=DEV)

        def softmax_multinomial(i):
            return torch.multinomial(torch.softmax(Ls[i] / 0.8, -1), 1)

        def gumbel(i):
            q = torch.empty_like(Ls[i]).exponential_(1)
            return torch.softmax(Ls[i] / 0.8, -1).div_(q).argmax(-1)

        def topk_first(i):  # top-k then top-p inside the k: only right when k is set
            v, ix = torch.topk(Ls[i] / 0.8, k, -1)
            pr = torch.softmax(v, -1)
            keep = pr.cumsum(-1) - pr < p
            pr = pr * keep
            return ix.gather(-1, pr.div(torch.empty_like(pr).exponential_(1)).argmax(-1, keepdim=True))

        def sort_topk_topp(i):  # per-row k and p, as vLLM did before its Triton kernel
            s, ix = (Ls[i] / 0.8).sort(-1, descending=False)
            kth = s.gather(1, (V - tk).unsqueeze(1))
            s = s.masked_fill(s < kth, -float("inf"))
            c = s.softmax(-1).cumsum(-1)
            m = c <= 1 - tp.unsqueeze(1)
            m[:, -1] = False
            s = s.masked_fill(m, -float("inf"))
            lg = torch.empty_like(s).scatter_(-1, ix, s)
            pr = lg.softmax(-1)
            return pr.div_(torch.empty_like(pr).exponential_(1)).argmax(-1)

        def argmax(i):
            return Ls[i].argmax(-1)

        for nm, f in (
            ("argmax", argmax),
            ("softmax_multinomial", softmax_multinomial),
            ("softmax_gumbel_argmax", gumbel),
            ("topk40_topp_multinomial", topk_first),
            ("sort_topk_topp", sort_topk_topp),
        ):
            case("sample", nm, "torch", sh, f, ns, bytes=nb)
        case("sample", "topk40", "torch.topk", sh, lambda i: torch.topk(Ls[i], k, -1), ns, bytes=nb)
        del Ls
        free()


def g_gemv():
    """decode matmuls of llama-8B: weight bandwidth. cuBLAS bf16, and the int4 tinygemm that torch carries."""
    for n, k in ([(64, 64)] if DRY else [(4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096)]):
        nb = n * k * 2
        ns = nsets_for(nb)
        Ws = [torch.randn(n, k, device=DEV, dtype=torch.bfloat16) for _ in range(ns)]
        for B in (1, 8, 32):
            x = torch.randn(B, k, device=DEV, dtype=torch.bfloat16)
            case(
                "gemv",
                "linear_bf16",
                "cuBLAS",
                dict(B=B, n=n, k=k),
                lambda i: F.linear(x, Ws[i]),
                ns,
                bytes=nb,
                flops=2 * B * n * k,
            )
        del Ws
        free()
        if DRY:
            continue
        try:
            nb4 = n * k // 2 + n * k // 128 * 4
            ns = nsets_for(nb4)
            packed = []
            for _ in range(ns):
                w = torch.randint(0, 255, (n, k // 2), device=DEV, dtype=torch.uint8)
                packed.append(torch._convert_weight_to_int4pack(w, 8))
            sz = torch.randn(k // 128, n, 2, device=DEV, dtype=torch.bfloat16)
            for B in (1, 8, 32):
                x = torch.randn(B, k, device=DEV, dtype=torch.bfloat16)
                case(
                    "gemv",
                    "int4_group128",
                    "torch._weight_int4pack_mm",
                    dict(B=B, n=n, k=k),
                    lambda i: torch._weight_int4pack_mm(x, packed[i], 128, sz),
                    ns,
                    bytes=nb4,
                )
            del packed
            free()
        except Exception as e:
            emit(
                group="gemv",
                name="int4_group128",
                impl="torch._weight_int4pack_mm",
                shape=dict(n=n, k=k),
                error=f"{type(e).__name__}: {str(e)[:200]}",
            )


def g_ops():
    H, I = 4096, 14336
    for T in ((2,) if DRY else (1, 32, 8192)):
        nb = T * H * 2 * 2
        ns = nsets_for(nb, 4)
        xs = [torch.randn(T, H, device=DEV, dtype=torch.bfloat16) for _ in range(ns)]
        w = torch.randn(H, device=DEV, dtype=torch.bfloat16)
        case("ops", "rmsnorm", "F.rms_norm", dict(T=T, H=H), lambda i: F.rms_norm(xs[i], (H,), w, 1e-5), ns, bytes=nb)
        nb = T * I * 2 * 3
        ns2 = nsets_for(nb, 4)
        gu = [torch.randn(T, 2 * I, device=DEV, dtype=torch.bfloat16) for _ in range(ns2)]
        case(
            "ops",
            "swiglu",
            "silu*mul eager",
            dict(T=T, I=I),
            lambda i: F.silu(gu[i][:, :I]) * gu[i][:, I:],
            ns2,
            bytes=nb,
        )
        q = torch.randn(T, HQ + HKV, D, device=DEV, dtype=torch.bfloat16)
        cs, sn = (torch.randn(T, 1, D, device=DEV, dtype=torch.bfloat16) for _ in range(2))

        def rope(i):
            a, b = q.chunk(2, -1)
            return q * cs + torch.cat((-b, a), -1) * sn

        case("ops", "rope", "eager", dict(T=T, H=HQ + HKV, D=D), rope, bytes=T * (HQ + HKV) * D * 4)
        del xs, gu
        free()
    if not DRY and left() > 60:
        try:
            x = torch.randn(8192, H, device=DEV, dtype=torch.bfloat16)
            g = torch.randn(8192, 2 * I, device=DEV, dtype=torch.bfloat16)
            c1 = torch.compile(lambda t: F.rms_norm(t, (H,), None, 1e-5))
            c2 = torch.compile(lambda t: F.silu(t[:, :I]) * t[:, I:])
            case("ops", "rmsnorm", "torch.compile", dict(T=8192, H=H), lambda i: c1(x), bytes=8192 * H * 4)
            case("ops", "swiglu", "torch.compile", dict(T=8192, I=I), lambda i: c2(g), bytes=8192 * I * 6)
        except Exception as e:
            emit(group="ops", name="compile", impl="torch.compile", shape={}, error=str(e)[:300])


def g_flashinfer():
    try:
        import flashinfer
    except Exception as e:
        emit(
            group="flashinfer", name="import", impl="flashinfer", shape={}, error=f"{type(e).__name__}: {str(e)[:200]}"
        )
        return
    emit(group="flashinfer", name="version", impl=str(getattr(flashinfer, "__version__", "?")), shape={})
    page = 16
    ws = torch.empty(256 << 20, dtype=torch.uint8, device=DEV)
    for B, L in [(1, 8192), (1, 32768), (8, 8192), (32, 2048), (32, 8192), (128, 2048)]:
        try:
            nb = 2 * B * HKV * L * D * 2
            ns = nsets_for(nb, 4)
            npg = B * L // page
            kv = [torch.randn(npg, 2, page, HKV, D, device=DEV, dtype=torch.bfloat16) for _ in range(ns)]
            indptr = torch.arange(0, B + 1, dtype=torch.int32, device=DEV) * (L // page)
            idx = torch.randperm(npg, device=DEV).int()
            last = torch.full((B,), page, dtype=torch.int32, device=DEV)
            w = flashinfer.BatchDecodeWithPagedKVCacheWrapper(ws, "NHD", use_tensor_cores=True)
            w.plan(indptr, idx, last, HQ, HKV, D, page, q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
            q = torch.randn(B, HQ, D, device=DEV, dtype=torch.bfloat16)
            case(
                "flashinfer",
                "paged_decode",
                "BatchDecode tensor cores",
                dict(B=B, L=L, page=page),
                lambda i: w.run(q, kv[i]),
                ns,
                bytes=nb,
            )
            del kv
            free()
        except Exception as e:
            emit(
                group="flashinfer",
                name="paged_decode",
                impl="-",
                shape=dict(B=B, L=L),
                error=f"{type(e).__name__}: {str(e)[:300]}",
            )
            break
    for B in (1, 32, 256):
        try:
            Lg = torch.randn(B, 128256, device=DEV) * 3
            case(
                "flashinfer",
                "top_k_top_p_from_logits",
                "flashinfer",
                dict(B=B, V=128256, k=40, p=0.9),
                lambda i: flashinfer.sampling.top_k_top_p_sampling_from_logits(Lg, 40, 0.9),
                bytes=B * 128256 * 4,
            )
            pr = torch.softmax(Lg, -1)
            case(
                "flashinfer",
                "top_p_from_probs",
                "flashinfer",
                dict(B=B, V=128256, p=0.9),
                lambda i: flashinfer.sampling.top_p_sampling_from_probs(pr, 0.9),
                bytes=B * 128256 * 4,
            )
        except Exception as e:
            emit(
                group="flashinfer",
                name="sampling",
                impl="-",
                shape=dict(B=B),
                error=f"{type(e).__name__}: {str(e)[:300]}",
            )
            break
    for S in (2048, 8192, 32768):
        try:
            q, k, v = (torch.randn(S, h, D, device=DEV, dtype=torch.bfloat16) for h in (HQ, HKV, HKV))
            case(
                "flashinfer",
                "single_prefill_causal",
                "fa3/auto",
                dict(B=1, S=S),
                lambda i: flashinfer.single_prefill_with_kv_cache(q, k, v, causal=True),
                flops=4 * HQ * S * S * D // 2,
            )
        except Exception as e:
            emit(
                group="flashinfer",
                name="single_prefill_causal",
                impl="-",
                shape=dict(S=S),
                error=f"{type(e).__name__}: {str(e)[:300]}",
            )
            break


def g_e2e():
    """transformers, random weights of llama-8B's shape: tokens/s of greedy decode with a static cache and compiled (graph) step."""
    if DRY:
        return
    try:
        from transformers import LlamaConfig, LlamaForCausalLM

        cfg = LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
            max_position_embeddings=8192,
            tie_word_embeddings=False,
        )
        with torch.device(DEV):
            torch.set_default_dtype(torch.bfloat16)
            try:
                m = LlamaForCausalLM(cfg).eval()
            finally:
                torch.set_default_dtype(torch.float32)
        ids = torch.randint(0, 128000, (1, 128), device=DEV)
        wbytes = sum(p.numel() for p in m.parameters()) * 2 - cfg.vocab_size * cfg.hidden_size * 2
        for nm, kw in (("dynamic_eager", {}), ("static_compiled", dict(cache_implementation="static"))):
            if left() < 60:
                emit(group="e2e", name=nm, impl="transformers", shape={}, skipped="budget")
                continue
            n = 128
            m.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=8 if nm == "dynamic_eager" else n,
                min_new_tokens=8 if nm == "dynamic_eager" else n,
                do_sample=False,
                pad_token_id=0,
                **kw,
            )
            ts = []
            for _ in range(3):
                sync()
                t = time.perf_counter()
                m.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=n,
                    min_new_tokens=n,
                    do_sample=False,
                    pad_token_id=0,
                    **kw,
                )
                sync()
                ts.append(time.perf_counter() - t)
            t = statistics.median(ts)
            emit(
                group="e2e",
                name=nm,
                impl="transformers",
                shape=dict(B=1, prompt=128, new=n),
                median_us=round(t / n * 1e6, 1),
                tok_s=round(n / t, 1),
                bytes=wbytes,
                note="prefill of 128 tokens included",
            )
    except Exception as e:
        emit(group="e2e", name="generate", impl="transformers", shape={}, error=f"{type(e).__name__}: {str(e)[:300]}")


GROUPS = [
    ("ceilings", g_ceilings),
    ("prefill", g_prefill),
    ("decode", g_decode),
    ("search", g_search),
    ("sample", g_sample),
    ("gemv", g_gemv),
    ("ops", g_ops),
    ("flashinfer", g_flashinfer),
    ("e2e", g_e2e),
]
only = set(filter(None, args.only.split(",")))
bad = only - {n for n, _ in GROUPS}
if bad:
    sys.exit(f"unknown groups {sorted(bad)}")
info = dict(
    group="env",
    name="env",
    impl="-",
    shape={},
    torch=torch.__version__,
    cuda=torch.version.cuda,
    python=sys.version.split()[0],
)
if not DRY:
    p = torch.cuda.get_device_properties(0)
    info.update(
        gpu=p.name,
        sms=p.multi_processor_count,
        mem=p.total_memory,
        cudnn=torch.backends.cudnn.version(),
        l2=getattr(p, "L2_cache_size", None),
    )
emit(**info)
for name, fn in GROUPS:
    if only and name not in only:
        continue
    if left() < 10:
        emit(group=name, name="-", impl="-", shape={}, skipped="budget")
        continue
    t = time.time()
    try:
        fn()
    except Exception as e:
        emit(
            group=name,
            name="group",
            impl="-",
            shape={},
            error=f"{type(e).__name__}: {str(e)[:300]}",
            trace=traceback.format_exc()[-600:],
        )
    with contextlib.suppress(Exception):
        free()
    emit(group=name, name="group_seconds", impl="-", shape={}, seconds=round(time.time() - t, 1))
# a short table last
if args.out != "-":
    print(f"{'group':10} {'name':26} {'impl':28} {'shape':44} {'us':>10} {'GB/s':>8} {'TF/s':>7} {'fbw':>6} {'fmm':>6}")
    for r in rows:
        if "median_us" in r:
            print(
                f"{r['group']:10} {r['name'][:26]:26} {r['impl'][:28]:28} {','.join(f'{k}{v}' for k, v in r['shape'].items())[:44]:44} {r['median_us']:10.1f} {r.get('gbps', ''):>8} {r.get('tflops', ''):>7} {r.get('frac_bw', ''):>6} {r.get('frac_mm', ''):>6}"
            )
        elif "error" in r:
            print(f"{r['group']:10} {r['name'][:26]:26} {r['impl'][:28]:28} ERROR {r['error'][:110]}")
    print(f"{time.time() - T0:.0f} s")
