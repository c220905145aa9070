"""PyTorch's side of `langevin bench --torch`: a server over stdin and stdout, one JSON object a line.

Started with the number of threads, or with `gpu` for CUDA where there is any, in full f32; says hello with its version and device; then answers requests about a case:
  {"case": NAME, "do": "time", "seconds": S}   {"times": [milliseconds of each call]}, after one call that is not counted
  {"case": NAME, "do": "outputs"}              {"outputs": [{"rms", "projection"}], "parameters": N or null}, of one call
Names say shapes, as in subjects.ts; inputs are those of values.ts. One case is held at a time.
"""
import gc, json, math, re, sys, time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError as error:
    print(json.dumps({'missing': str(error)}), flush=True)
    sys.exit(0)


def values(seed, *shape):
    """Uniform in ±√3: a hash of seed and place."""
    mask = 0xffffffff
    h = (torch.arange(math.prod(shape)) + seed * 0x9e3779b1) & mask
    h = (h ^ (h >> 16)) * 0x85ebca6b & mask
    h = (h ^ (h >> 13)) * 0xc2b2ae35 & mask
    h = h ^ (h >> 16)
    return ((h.double() / 2**31 - 1) * math.sqrt(3)).float().reshape(shape)


def fingerprint(y):
    y = y.detach().double().flatten()
    return {'rms': (y * y).mean().sqrt().item(), 'projection': (y @ values(999, len(y)).double() / math.sqrt(len(y))).item()}


def leaf(seed, *shape):
    return values(seed, *shape).requires_grad_()


def with_gradients(forward, inputs, g):
    def call():
        y = forward(*inputs)
        return [y, *torch.autograd.grad(y, inputs, g)]
    return call


def matmul(n, mode):
    a, b = values(1, n, n), values(2, n, n)
    a, b = a.T if 'aT' in mode else a, b.T if 'bT' in mode else b
    return lambda: [a @ b]


def conv2d(batch, channels, size, out, backward):
    inputs = leaf(1, batch, channels, size, size), leaf(2, out, channels, 3, 3), leaf(3, out)
    forward = lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1)
    if backward: return with_gradients(forward, inputs, values(4, batch, out, size, size))
    return torch.no_grad()(lambda: [forward(*inputs)])


def group_norm(groups, batch, channels, size):
    inputs = leaf(1, batch, channels, size, size), leaf(2, channels), leaf(3, channels)
    return with_gradients(lambda x, w, b: F.silu(F.group_norm(x, groups, w, b)), inputs, values(4, batch, channels, size, size))


def attention(*shape):
    return with_gradients(F.scaled_dot_product_attention, [leaf(seed, *shape) for seed in (1, 2, 3)], values(4, *shape))


def adamw():
    shapes = [(1000, 1000)] * 8 + [(500, 500)] * 6 + [(1000,)] * 500
    parameters = nn.ParameterList(nn.Parameter(values(i, *shape)) for i, shape in enumerate(shapes))
    for i, p in enumerate(parameters): p.grad = values(len(shapes) + i, *p.shape)
    step = torch.optim.AdamW(parameters, lr=1e-4, fused=True).step
    return (lambda: [step()] and []), parameters


def chain(millions):
    x, y = values(1, millions << 20), values(2, millions << 20)
    return lambda: [F.silu(x * 1.5 + y) * y]


class Resnet(nn.Module):
    def __init__(self, inputs, outputs, time, groups):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs: self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, 'conv_shortcut') else x)


class Attention(nn.Module):
    def __init__(self, channels, groups, head=8):
        super().__init__()
        self.heads, self.group_norm = channels // head, nn.GroupNorm(groups, channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):
        rows = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (to(rows).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.to_out[0](y).transpose(1, 2).reshape(x.shape) + x


class Resample(nn.Module):
    def __init__(self, channels, up):
        super().__init__()
        self.up, self.conv = up, nn.Conv2d(channels, channels, 3, padding=1, stride=1 if up else 2)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest') if self.up else x)


class Stage(nn.Module):
    """Residual blocks, each with attention behind it where asked for; fields are named as in diffusers."""

    def __init__(self, blocks, time, groups, attention, resample=None):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(i, o, time, groups) for i, o in blocks)
        outputs = blocks[-1][1]
        if attention: self.attentions = nn.ModuleList(Attention(outputs, groups) for _ in blocks)
        if resample is not None: setattr(self, 'upsamplers' if resample else 'downsamplers', nn.ModuleList([Resample(outputs, resample)]))

    def block(self, i, x, time):
        x = self.resnets[i](x, time)
        return self.attentions[i](x) if hasattr(self, 'attentions') else x


class TimeEmbedding(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)

    def forward(self, t):
        return self.linear_2(F.silu(self.linear_1(t)))


class UNet(nn.Module):
    """diffusers' UNet2DModel with one block a stage, attention in the deepest stage and in the middle."""

    def __init__(self, io, channels, groups):
        super().__init__()
        first, last, time = channels[0], channels[-1], 4 * channels[0]
        self.conv_in, self.time_embedding = nn.Conv2d(io, first, 3, padding=1), TimeEmbedding(first, time)
        before = [first, *channels[:-1]]
        self.down_blocks = nn.ModuleList(
            Stage([(i, o)], time, groups, attention=n == len(channels) - 1, resample=None if n == len(channels) - 1 else False)
            for n, (i, o) in enumerate(zip(before, channels)))
        self.mid_block = Stage([(last, last)] * 2, time, groups, attention=False)
        self.mid_block.attentions = nn.ModuleList([Attention(last, groups)])
        up = list(zip(channels, before))[::-1]
        inputs = [last, *(o for o, _ in up[:-1])]
        self.up_blocks = nn.ModuleList(
            Stage([(i + o, o), (o + skip, o)], time, groups, attention=n == 0, resample=None if n == len(up) - 1 else True)
            for n, (i, (o, skip)) in enumerate(zip(inputs, up)))
        self.conv_norm_out, self.conv_out = nn.GroupNorm(groups, first), nn.Conv2d(first, io, 3, padding=1)

    def forward(self, x, t):
        half = self.conv_in.out_channels // 2
        angles = t[:, None] * torch.exp(torch.arange(half) * (-math.log(10000) / half))
        time = self.time_embedding(torch.cat([angles.cos(), angles.sin()], 1))
        h = self.conv_in(x)
        skips = [h]
        for stage in self.down_blocks:
            h = stage.block(0, h, time)
            skips.append(h)
            if hasattr(stage, 'downsamplers'):
                h = stage.downsamplers[0](h)
                skips.append(h)
        h = self.mid_block.resnets[0](h, time)
        h = self.mid_block.resnets[1](self.mid_block.attentions[0](h), time)
        for stage in self.up_blocks:
            for i in range(2): h = stage.block(i, torch.cat([h, skips.pop()], 1), time)
            if hasattr(stage, 'upsamplers'): h = stage.upsamplers[0](h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


def unet(train, digits, size, io, channels, batch):
    model = UNet(io, [int(c) for c in channels.split('_')], 8 if digits else 32)
    with torch.no_grad():
        for i, (name, p) in enumerate(sorted(model.named_parameters())):
            p.copy_(values(i, *p.shape) / 20 + (1 if name.endswith('weight') and p.ndim == 1 else 0))
    x, target = values(1001, batch, io, size, size), values(1002, batch, io, size, size)
    t = torch.tensor([(389 * i + 557) % 1000 for i in range(batch)], dtype=torch.float32)
    if not train: return torch.no_grad()(lambda: [model(x, t)]), model.parameters()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.mse_loss(model(x, t), target)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return [loss, norm]
    return step, model.parameters()


makers = [
    (r'matmul_f32_(\d+)(?:_(aTbT|aTb|abT))?', lambda n, mode: matmul(int(n), mode or '')),
    (r'conv2d_3x3_N(\d+)_C(\d+)_(\d+)x\d+_O(\d+)_forward(_backward)?', lambda n, c, s, o, backward: conv2d(int(n), int(c), int(s), int(o), backward)),
    (r'group_norm(\d+)_silu_forward_backward_N(\d+)_C(\d+)_(\d+)x\d+', lambda *sizes: group_norm(*map(int, sizes))),
    (r'attention_forward_backward_B(\d+)_H(\d+)_T(\d+)_D(\d+)', lambda *sizes: attention(*map(int, sizes))),
    (r'adamw_fused_10M_514_tensors', adamw),
    (r'elementwise_chain_(\d+)M', lambda millions: chain(int(millions))),
    (r'(?:(train_step)|forward)_unet(_t2_digits)?_(\d+)x\d+x(\d+)_ch([\d_]+)_batch(\d+)', lambda train, digits, size, io, channels, batch: unet(train, digits, int(size), int(io), channels, int(batch))),
]


def make(name):
    """A call of the case, and its parameters if it has any."""
    for pattern, maker in makers:
        match = re.fullmatch(pattern, name)
        if match:
            made = maker(*match.groups())
            call, parameters = made if isinstance(made, tuple) else (made, None)
            return call, parameters and sum(p.numel() for p in parameters)
    raise ValueError(f'there is no case {name}')


def timed(call, seconds):
    call(), synchronize()
    times, start = [], time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call(), synchronize()
        times.append((time.perf_counter() - before) * 1e3)
    return times


def serve():
    print(json.dumps({'torch': torch.__version__, 'device': torch.cuda.get_device_name() if cuda else None}), flush=True)
    held, case = None, None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if held != request['case']:
                held = case = None
                gc.collect()
                held, case = request['case'], make(request['case'])
            call, parameters = case
            if request['do'] == 'time': answer = {'times': timed(call, request['seconds'])}
            else: answer = {'outputs': [fingerprint(y) for y in call()], 'parameters': parameters}
        except Exception as error:
            held, answer = None, {'error': f'{type(error).__name__}: {error}'}
        print(json.dumps(answer), flush=True)


cuda = sys.argv[1] == 'gpu' and torch.cuda.is_available()
synchronize = torch.cuda.synchronize if cuda else lambda: None
if cuda:
    torch.set_default_device('cuda')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
elif sys.argv[1] != 'gpu': torch.set_num_threads(int(sys.argv[1]))
serve()
