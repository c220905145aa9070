/** Whatever goes wrong on the device ends in a DeviceError that says what, and where; never in a silent zero. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Device } from '../../engine/device/device.ts'
import { findAdapter, openAdapter } from '../../engine/device/webgpu/adapter.ts'
import { WebGpuBackend } from '../../engine/device/webgpu/backend.ts'
import { asGpu } from '../../engine/device/webgpu/bufferPool.ts'
import { DeviceError, Variable, adamWStep, add, concat, cumsum, exp, full, mul, realize, reshape, softmax, tensor, withDefaultDevice } from '../../engine/index.ts'
import type { Tensor, TypedArray } from '../../engine/index.ts'

let gpu: GPUDevice
let device: Device
beforeEach(async () => {
  const adapter = await openAdapter(await findAdapter())
  gpu = adapter.device
  device = new Device(new WebGpuBackend({ adapter }))
})
afterEach(async () => device.close())

const on = <T>(body: () => T): T => withDefaultDevice(device, body)
const numbers = (): Tensor => on(() => tensor([1, 2, 3]))

test('a tensor that no binding holds, before anything is submitted', async () => {
  const elements = gpu.limits.maxStorageBufferBindingSize / 4 + 1
  const large = on(() => device.scope('decoder.up', () => mul(exp(full([elements], 1)), full([elements], 2))))
  await expect(realize(large)).rejects.toThrow(new RegExp(`^webgpu: \\S* ?.*takes a tensor of ${elements} f32, ${4 * elements} bytes, but one binding of this adapter holds ${gpu.limits.maxStorageBufferBindingSize};`))
  expect(device.counters.submits).toBe(0)
  expect([...await numbers().data()]).toEqual([1, 2, 3])
})

test('a lost device', async () => {
  const v = on(() => new Variable(numbers(), 'v'))
  await realize(v)
  gpu.destroy()
  await gpu.lost
  await expect(on(() => exp(v)).data()).rejects.toThrow(/^webgpu: the device was lost \(destroyed: .*\); open another/)
  await expect(v.data()).rejects.toThrow(/the device was lost/)
})

test('a shader that does not compile: the step, its module and what the compiler says', async () => {
  const create = gpu.createShaderModule.bind(gpu)
  gpu.createShaderModule = (descriptor) => create({ ...descriptor, code: descriptor.code.replace('fn main(', 'fn main(nonsense: u33, ') })
  const y = on(() => device.scope('unet.mid', () => exp(numbers())))
  await expect(y.data()).rejects.toThrow(/^webgpu: step 0 unet\.mid\/exp: the shader of map does not compile: line \d+: .*u33/)
  gpu.createShaderModule = create
  // It is not kept as one that failed.
  expect([...await on(() => exp(tensor([0]))).data()]).toEqual([1])
})

test('memory that is gone: the step that was refused, and variables that say so', async () => {
  const [v, w] = on(() => [new Variable(tensor([1, 2]), 'v'), new Variable(tensor([3, 4]), 'w')])
  await realize(v, w)
  await realize(on(() => device.scope('model.tail', () => mul(exp(v), w)))) // the same plan but for what it writes
  const { block } = w.storage
  if (block === undefined) throw new Error('w has memory')
  asGpu(block).buffer.destroy()
  await expect(on(() => device.scope('model.head', () => mul(exp(v), w))).data()).rejects.toThrow(/^webgpu: the device refused step 0 model\.head\/mul: .*destroyed/)
  on(() => v.assign(device.scope('model.head', () => mul(exp(v), w))))
  await expect(realize(v)).rejects.toThrow(/^webgpu: the device refused step 0 model\.head\/mul: .*destroyed/)
  await expect(v.data()).rejects.toThrow(/refused/)
})

test('no memory for a new buffer', async () => {
  const [push, pop] = [gpu.pushErrorScope.bind(gpu), gpu.popErrorScope.bind(gpu)]
  const scopes: GPUErrorFilter[] = []
  let left = 1
  gpu.pushErrorScope = (filter) => {
    scopes.push(filter)
    push(filter)
  }
  gpu.popErrorScope = async () => {
    const fails = scopes.pop() === 'out-of-memory' && left-- > 0
    const error = await pop()
    return fails ? new GPUOutOfMemoryError('no pages left') : error
  }
  await expect(on(() => exp(full([300], 1))).data()).rejects.toThrow(/^out of memory on webgpu: \d+ bytes more than the \d+ in use are not to be had \(no pages left\); use a smaller batch/)
  expect([...await numbers().data()]).toEqual([1, 2, 3])
})

/** Once so many others are made, a number of buffers, default all, get no memory. Returns what puts the GPU right again. */
function withoutMemory(others: number, count = Infinity): () => void {
  const [createBuffer, pushErrorScope, popErrorScope] = [gpu.createBuffer.bind(gpu), gpu.pushErrorScope.bind(gpu), gpu.popErrorScope.bind(gpu)]
  let made = 0
  // A buffer that may be both mapped and bound is not valid, as one without memory is not.
  const fails = (n: number): boolean => n >= others && n < others + count
  gpu.createBuffer = (descriptor) => createBuffer(fails(made++) ? { ...descriptor, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE } : descriptor)
  gpu.pushErrorScope = (filter) => pushErrorScope(filter === 'out-of-memory' ? 'validation' : filter)
  gpu.popErrorScope = async () => {
    const error = await popErrorScope()
    return error === null ? null : new GPUOutOfMemoryError(error.message)
  }
  return () => Object.assign(gpu, { createBuffer, pushErrorScope, popErrorScope })
}

test('what is kept for later is given back for a program that needs it', async () => {
  const program = (elements: number): Promise<TypedArray> => on(() => exp(full([elements], 0))).data()
  await program(5000)
  const restore = withoutMemory(1, 1) // The first are constants of the plan.
  expect(await program(300)).toEqual(new Float32Array(300).fill(1))
  restore()
})

test.each([0, 1, 2, 3, 4, 5, 6])('from buffer %i on a program gets no memory: it says so, and the next time it has it', async (others) => {
  const program = (): Promise<TypedArray> => on(() => {
    const x = exp(full([700], 0))
    return add(softmax(reshape(concat([x, x], 0), [2, 700]), 0), cumsum(reshape(concat([x, x], 0), [2, 700]), 0))
  }).data()
  const restore = withoutMemory(others)
  await expect(program()).rejects.toThrow(DeviceError)
  restore()
  const expected = Float32Array.from({ length: 1400 }, (_, i) => (i < 700 ? 1.5 : 2.5))
  expect(await program()).toEqual(expected)
  expect(await program()).toEqual(expected)
})

test.each([0, 1, 2, 3, 4, 5])('from buffer %i on an optimiser\'s first step gets no memory: variables are what they were', async (others) => {
  const [p, q, m, n, v, w] = on(() => [1, 2, 3, 4, 5, 6].map((x) => new Variable(full([300], x), `v${x}`)))
  if (p === undefined || q === undefined || m === undefined || n === undefined || v === undefined || w === undefined) throw new Error('there are six')
  await realize(p, q, m, n, v, w)
  const step = (): Promise<void> => {
    const after = on(() => adamWStep({ parameters: [p, q], gradients: [mul(p, 2), mul(q, 2)], first: [m, n], second: [v, w], lr: 1, beta1: 0, beta2: 0, eps: 0, weightDecay: 0, correction1: 1, correction2: 1 }))
    for (const [to, value] of [[p, after.parameters[0]], [q, after.parameters[1]], [m, after.first[0]], [n, after.first[1]], [v, after.second[0]], [w, after.second[1]]] as const) to.assign(value ?? to)
    return realize(p)
  }
  const restore = withoutMemory(others)
  await expect(step()).rejects.toThrow(/^out of memory on webgpu/)
  restore()
  for (const [i, x] of [p, q, m, n, v, w].entries()) expect((await x.data())[299]).toBe(i + 1)
  await step()
  for (const [i, x] of [p, q, m, n, v, w].entries()) expect((await x.data())[299]).toBe([0, 1, 2, 4, 4, 16][i])
})
