/** Bad input is a clear error, thrown at the caller's line before anything runs. Every message is pinned. */
import { afterAll, describe, expect, test } from 'vitest'
import { ReferenceBackend } from '../engine/device/reference/backend.ts'
import { Device } from '../engine/device/device.ts'
import { metaDevice } from '../engine/device/meta.ts'
import {
  Tensor, add, bitwiseAnd, cast, concat, conv2d, customGradient, device as openDevice, expand, gather, gelu, grad, groupNorm, indexSelect, interpolate, klDiv, linear, matmul, max, maxPool2d, mseLoss, mul, oneHot, pad, permute, realize, recompute, reshape, scalar, scaledDotProductAttention, setDefaultDevice, slice, softmax, softplus, squeeze, stopGradient, stack, sum, tensor, topK, uniform, variable, where, withValues, zeros,
} from '../engine/index.ts'
import { closeAll, onEach, openAll } from './devices.ts'

const devices = await openAll()
afterAll(async () => closeAll(devices))

type Bad = readonly [what: string, call: () => unknown, kind: string, message: string]

const nothing = (): Tensor[] => []
/** A call as programs without types make it. */
const untyped = (run: (...given: never[]) => unknown, ...given: readonly unknown[]): unknown => Reflect.apply(run, undefined, given)

const bad: readonly Bad[] = [
  ['shapes that do not broadcast', () => add(zeros([2, 3]), zeros([2, 4])), 'ShapeError', 'add: shapes [2,3] and [2,4] do not broadcast: axis -1 has sizes 3 and 4; make them equal, or one of them 1'],
  ['inner sizes of a product', () => matmul(zeros([2, 3]), zeros([4, 5])), 'ShapeError', 'matmul: a has 3 columns but b has 4 rows (a [2,3], b [4,5]); the last axis of a must equal the second to last axis of b'],
  ['features of a linear map', () => linear(zeros([2, 3]), zeros([5, 4])), 'ShapeError', 'linear: x has 3 features but weight expects 4 (x [2,3], weight [5,4] = [out,in]); match the last axes'],
  ['channels of a convolution', () => conv2d(zeros([1, 3, 8, 8]), zeros([8, 4, 3, 3])), 'ShapeError', 'conv2d: input has 3 channels but weight expects 4 (input [1,3,8,8], weight [8,4,3,3]); change the weight\'s second axis or the input'],
  ['an image without its batch', () => conv2d(zeros([3, 8, 8]), zeros([8, 3, 3, 3])), 'ShapeError', 'conv2d: input [3,8,8] needs 4 axes [N,C,H,W]; reshape it, for one sample with a first axis of 1'],
  ['groups that do not divide', () => groupNorm(zeros([1, 10, 2]), 4), 'ConfigError', 'groupNorm: 10 channels do not divide into 4 groups (input [1,10,2]); choose groups that divide 10'],
  ['keys of another size', () => scaledDotProductAttention(zeros([2, 4]), zeros([2, 5]), zeros([2, 5])), 'ShapeError', 'scaledDotProductAttention: queries have size 4 but keys 5 (q [2,4], k [2,5], v [2,5]); project them to one size'],
  ['softplus by nothing', () => softplus(zeros([2]), { beta: 0 }), 'ConfigError', 'softplus: beta is 0, by which log(1 + e^(βx)) is divided; use another number, for the limit of large ones relu'],
  ['a reduction of klDiv', () => untyped(klDiv, zeros([2]), zeros([2]), { reduction: 'batch' }), 'ConfigError', 'klDiv: reduction is "batch"; use mean, sum, none or batchmean'],
  ['distributions of other shapes', () => klDiv(zeros([2, 3]), zeros([3])), 'ShapeError', 'klDiv: prediction has shape [2,3] but target has [3]; reshape one of them, losses do not broadcast'],
  ['a number of elements', () => reshape(zeros([2, 3]), [4]), 'ShapeError', 'reshape: [2,3] has 6 elements but [4] has 4; keep the number of elements'],
  ['a size to be worked out', () => reshape(zeros([2, 3]), [-1, 4]), 'ShapeError', 'reshape: 6 elements of [2,3] do not divide into [-1,4]; choose sizes whose product divides 6'],
  ['a size below 0', () => zeros([2, -3]), 'ShapeError', 'zeros: -3 in shape [2,-3] is not a size; use integers of at least 0'],
  ['a shape to expand to', () => expand(zeros([2, 3]), [4, 3]), 'ShapeError', 'expand: [2,3] does not stretch to [4,3]; only axes of size 1 stretch, and new axes go in front'],
  ['an axis out of range', () => sum(zeros([2, 3]), 2), 'ShapeError', 'sum: axis 2 is outside shape [2,3]; use an integer from -2 to 1'],
  ['an axis that is no integer', () => softmax(zeros([2, 3]), 0.5), 'ShapeError', 'softmax: axis 0.5 is outside shape [2,3]; use an integer from -2 to 1'],
  ['an axis twice', () => sum(zeros([2, 3]), [0, -2]), 'ShapeError', 'sum: axes [0,-2] name an axis of [2,3] twice; list each once'],
  ['axes that are no permutation', () => permute(zeros([2, 3]), [0, 0]), 'ShapeError', 'permute: axes [0,0] do not name each axis of [2,3] once'],
  ['an axis that is not 1', () => squeeze(zeros([2, 1]), 0), 'ShapeError', 'squeeze: axis 0 of [2,1] has size 2, and only axes of size 1 can go; reduce or slice it first'],
  ['the maximum of nothing', () => max(zeros([0, 3]), 0), 'ShapeError', 'max: axis 0 of [0,3] is empty, and nothing has no max; reduce axes that have elements'],
  ['bounds the wrong way round', () => uniform([2], { low: 2 }), 'ConfigError', 'uniform: there are no f32 numbers to draw from 2 up to but without 1; use finite low ≤ high, less than 3.4e38 apart'],
  ['bounds too far apart', () => uniform([2], { low: -3e38, high: 3e38 }), 'ConfigError', 'uniform: there are no f32 numbers to draw from -3e+38 up to but without 3e+38; use finite low ≤ high, less than 3.4e38 apart'],
  ['more than there is', () => topK(zeros([3]), 4), 'ShapeError', 'topK: axis -1 of [3] has 3 values, not 4 to take; use an integer from 0 to 3'],
  ['an index outside the axis', () => indexSelect(zeros([3]), [3], 0), 'ShapeError', 'indexSelect: index 3 is outside axis 0 of [3]; use integers from -3 to 2'],
  ['a place outside the axis', () => gather(zeros([2]), tensor([2], null, { dtype: 'i32' }), 0), 'ShapeError', 'gather: index 2 is outside an axis of size 2; use integers from 0 to 1'],
  ['losses that would broadcast', () => mseLoss(zeros([2, 1]), zeros([2])), 'ShapeError', 'mseLoss: prediction has shape [2,1] but target has [2]; reshape one of them, losses do not broadcast'],

  ['a word that gelu does not know', () => untyped(gelu, zeros([2]), { approximate: 'Tanh' }), 'ConfigError', 'gelu: approximate is "Tanh"; use none or tanh'],
  ['a way to interpolate', () => untyped(interpolate, zeros([1, 1, 4]), { scaleFactor: 2, mode: 'cubic' }), 'ConfigError', 'interpolate: mode is "cubic"; use nearest, area, linear, bilinear, trilinear or bicubic'],
  ['an option that sum does not have', () => untyped(sum, zeros([2, 3]), 0, { keepdim: true }), 'ConfigError', 'sum: has no option "keepdim"; check its spelling'],
  ['a way to pad', () => untyped(pad, zeros([4]), [1], { mode: 'reflection' }), 'ConfigError', 'pad: mode is "reflection"; use constant, reflect, replicate or circular'],
  ['a way to reduce a loss', () => untyped(mseLoss, zeros([4]), zeros([4]), { reduction: 'avg' }), 'ConfigError', 'mseLoss: reduction is "avg"; use mean, sum or none'],
  ['a word for padding', () => untyped(conv2d, zeros([1, 1, 4, 4]), zeros([1, 1, 3, 3]), { padding: 'full' }), 'ConfigError', 'conv2d: padding is "full"; use same or valid, or numbers'],
  ['a word where numbers are meant', () => untyped(maxPool2d, zeros([1, 1, 4, 4]), 2, { padding: 'same' }), 'ConfigError', 'maxPool2d: padding is "same"; give one number, or one number or pair per axis'],
  ['what to do without a gradient', () => untyped(grad, sum(zeros([2])), zeros([2]), { unreached: 'zero' }), 'ConfigError', 'grad: unreached is "zero"; use error or zeros'],

  ['integers without a common type', () => add(tensor([1], null, { dtype: 'i32' }), tensor([1], null, { dtype: 'u32' })), 'DTypeError', 'add: i32 and u32 have no common type that holds both; cast one of them first'],
  ['a fraction added to integers', () => add(tensor([1], null, { dtype: 'i32' }), 0.5), 'DTypeError', 'add: 0.5 is not a i32 value (integers from -2147483648 to 2147483647); use a number in range, or cast the tensor to f32 first'],
  ['a product of integers', () => matmul(tensor([[1]], null, { dtype: 'i32' }), zeros([1, 1])), 'DTypeError', 'matmul: a is i32, but matmul takes floats; cast it to f32 first'],
  ['a condition that is no bool', () => where(zeros([2]), 1, 0), 'DTypeError', 'where: condition is f32; compare first, such as notEqual(condition, 0)'],
  ['bits of a float', () => bitwiseAnd(zeros([2]), 1), 'DTypeError', 'bitwiseAnd: an operand is f32, which has no bits to work on; cast it to i32 or u32'],
  ['a float as an index', () => gather(zeros([2]), zeros([1]), 0), 'DTypeError', 'gather: index is f32, but places are integers; cast it to i32'],
  ['a number too large for its type', () => tensor([300], null, { dtype: 'u8' }), 'DTypeError', 'tensor: 300 is not a u8 value (integers from 0 to 255); use a number in range, or cast the tensor to f32 first'],
  ['classes that are no number', () => oneHot(tensor([1], null, { dtype: 'i32' }), 2.5), 'ShapeError', 'oneHot: 2.5 is not a number of classes; use an integer of at least 0'],

  ['data of the wrong length', () => tensor(new Float32Array(5), [2, 3]), 'ShapeError', 'tensor: shape [2,3] holds 6 elements but the data has 5; pass as many values as the shape holds'],
  ['ragged arrays', () => tensor([[1, 2], [3]]), 'ShapeError', 'tensor: nested arrays are ragged: element 0 has shape [2] but element 1 has [1]; make all rows equally long'],

  ['the gradient of a vector', () => grad(zeros([2]), zeros([2])), 'GradientError', 'grad: the loss has shape [2], but only a scalar has a gradient; reduce it with sum or mean first'],
  ['the gradient of an integer', () => grad(sum(tensor([1], null, { dtype: 'i32' })), zeros([1])), 'DTypeError', 'grad: the loss is i32, which has no gradient; compute it in f32'],
  ['the gradient by integers', () => grad(sum(cast(tensor([1], null, { dtype: 'i32' }), 'f32')), tensor([1], null, { dtype: 'i32' })), 'DTypeError', 'grad: wrt is i32, and integers have no gradient; cast it to f32 before the ops that read it'],
  ['a variable that plays no part', () => grad(sum(zeros([2])), { w: variable([1, 2], { name: 'unused' }) }), 'GradientError', 'grad: the loss does not reach variable unused [2]: it does not take part in the loss; leave it out, or pass { unreached: "zeros" }'],
  ['recomputing nothing', () => recompute(nothing), 'GradientError', 'recompute: pass the tensors the function is applied to after the function'],

  ['an assigned shape', () => variable(zeros([2]), { name: 'w' }).assign(zeros([3])), 'ShapeError', 'assign: variable w has shape [2] but the value has [3]; reshape or expand the value'],
  ['an assigned type', () => variable(zeros([2]), { name: 'w' }).assign(cast(zeros([2]), 'i32')), 'DTypeError', 'assign: variable w is f32 but the value is i32; cast the value'],
  ['a substitute’s shape', () => withValues(new Map([[variable(zeros([2]), { name: 'w' }), zeros([3])]]), nothing), 'ShapeError', 'withValues: variable w has shape [2] but its substitute has [3]'],
  ['a substitute’s type', () => withValues(new Map([[variable(zeros([2]), { name: 'w' }), cast(zeros([2]), 'i32')]]), nothing), 'DTypeError', 'withValues: variable w is f32 but its substitute is i32; cast the substitute'],
  ['lists of nothing', () => concat([]), 'ShapeError', 'concat: the list of tensors is empty; pass at least one'],
  ['pieces of different shapes', () => stack([zeros([2]), zeros([3])]), 'ShapeError', 'stack: tensor 0 has shape [2] but tensor 1 has [3]; make their shapes equal, or use concat'],
  ['a step of 0', () => slice(zeros([3]), [[0, 3, 0]]), 'ShapeError', 'slice: the range of axis 0 of [3] has step 0; use another step, negative to run backwards'],
]

/** Name and message of what `call` throws. */
function thrown(call: () => unknown): { kind: string; message: string } {
  try {
    call()
  } catch (error) {
    if (error instanceof Error) return { kind: error.name, message: error.message }
  }
  return { kind: 'nothing', message: 'nothing was thrown' }
}

onEach(devices, 'bad input never reaches the device', (device) => {
  setDefaultDevice(device)
  device.resetCounters()
  for (const [, call] of bad) thrown(call)
  const { made, ...own } = device.counters
  expect(Object.entries({ ...own, ...made }).filter(([, count]) => count !== 0)).toEqual([])
  device.moved.clear()
})

describe('each message', () => {
  test.each(bad)('%s', (_, call, kind, message) => {
    setDefaultDevice(devices[0]?.device)
    expect(thrown(call)).toEqual({ kind, message })
  })
})

describe('devices', () => {
  const reference = (): Device => new Device(new ReferenceBackend())

  test('there is none yet', () => {
    setDefaultDevice(undefined)
    expect(() => tensor([1])).toThrow('tensor: there is no default device yet; call "await device()" first, or pass { device }')
  })

  test('two in one op', async () => {
    const [x, y, z] = [reference(), reference(), metaDevice()].map((device) => tensor([1], null, { device })) as [Tensor, Tensor, Tensor]
    expect(() => add(x, y)).toThrow('add: inputs live on reference (opened earlier) and reference (opened later); move one of them with .to(device)')
    expect(() => add(y, x)).toThrow('add: inputs live on reference (opened later) and reference (opened earlier); move one of them with .to(device)')
    expect(() => add(y, z)).toThrow('add: inputs live on reference and meta; move one of them with .to(device)')
    const w = variable(x, { name: 'w' })
    expect(() => w.assign(y)).toThrow('assign: variable w lives on reference (opened earlier) but the value on reference (opened later); move it with .to(device)')
    await y.device.close()
    expect(() => add(x, y)).toThrow('add: inputs live on reference (opened earlier) and reference (closed); move one of them with .to(device)')
  })

  test('a closed one', async () => {
    const device = await openDevice('reference')
    const x = tensor([1, 2])
    await device.close()
    const message = 'the reference device is closed; open another with await device()'
    expect(() => mul(x, x)).toThrow(`mul: ${message}`)
    expect(() => tensor([1], null, { device })).toThrow(`data: ${message}`)
    await expect(realize(x)).rejects.toThrow(`realize: ${message}`)
  })

  onEach(devices.filter(({ kind }) => kind !== 'reference'), 'a type it has not', (device) => {
    expect(() => tensor([1], null, { device, dtype: 'f64' })).toThrow(`tensor: device ${device.name} has no f64; use f32`)
    expect(() => cast(tensor([1], null, { device }), 'f64')).toThrow(`cast: device ${device.name} has no f64; cast to f32, or use a device that has it`)
  })
})

describe('what was realised', () => {
  onEach(devices, 'has let go of its graph', async (device) => {
    setDefaultDevice(device)
    const x = tensor([1, 2])
    const hidden = mul(x, 3)
    const loss = sum(mul(hidden, hidden))
    await realize(hidden)
    expect(() => grad(loss, x)).toThrow('grad: the loss does not reach wrt [2]: the path to it passes through a tensor that was realised and has let go of its graph; take the gradient before realising it')
    expect(Array.from(await grad(loss, hidden).data())).toEqual([6, 12])
    await realize(loss)
    expect(() => grad(loss, hidden)).toThrow('grad: the loss was realised before its gradient was taken and has let go of its graph; take the gradient first, then realise both (valueAndGrad gives both)')
  })

  onEach(devices, 'has let go of its graph on one of several paths', async (device) => {
    setDefaultDevice(device)
    const w = variable([1, 2], { name: 'w' })
    await realize(w)
    const hidden = mul(w, 3)
    await realize(hidden)
    expect(() => grad(sum(mul(hidden, w)), w)).toThrow('grad: the loss reads mul [2], which was computed from variables and then realised: the gradient through it is lost. Take the gradient before realising it; if none is meant to flow, pass it through stopGradient')
    expect(Array.from(await grad(sum(mul(stopGradient(hidden), w)), w).data())).toEqual([3, 6])
    const data = mul(zeros([2]).add(2), 3)
    await realize(data)
    expect(Array.from(await grad(sum(mul(data, w)), w).data())).toEqual([6, 6])
  })

  onEach(devices, 'has let go of its graph, inside a checkpoint too', async (device) => {
    setDefaultDevice(device)
    const x = tensor([1, 2])
    const inner: Tensor[] = []
    const y = recompute((t) => {
      const square = mul(t, t)
      inner.push(square)
      return sum(mul(square, t))
    }, x)
    await realize(...inner)
    expect(() => grad(y, x)).toThrow('recompute: a tensor inside the function (mul [2]) was realised before the gradient was taken and has let go of its graph; take the gradient first, then realise both')
  })

  onEach(devices, 'has as many elements as it has', async (device) => {
    setDefaultDevice(device)
    await expect(zeros([2, 3]).item()).rejects.toThrow('item: a tensor of shape [2,3] has 6 elements, not one; use data()')
  })

  onEach(devices, 'is zeros where zeros are asked for', async (device) => {
    setDefaultDevice(device)
    const [w, x] = [tensor([1, 2]), scalar(3)]
    expect(Array.from(await grad(mul(x, x), w, { unreached: 'zeros' }).data())).toEqual([0, 0])
  })

  onEach(devices, 'has its own backward where it was given one', async (device) => {
    setDefaultDevice(device)
    const x = tensor([1, 2])
    const y = customGradient([x], (t) => mul(t, t), (dy) => [mul(dy, 100)])
    expect(Array.from(await grad(sum(y), x).data())).toEqual([100, 100])
  })
})
