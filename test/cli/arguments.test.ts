/** What can be said on the command line, and what is answered to what cannot. */
import { describe, expect, test } from 'vitest'
import { UsageError, help, parseCommand } from '../../cli/arguments.ts'

const parse = (line: string): unknown => parseCommand(line.split(' ').filter((word) => word !== ''))

describe('parses', () => {
  const none = { device: undefined, threads: undefined }
  const train = { ...none, steps: undefined, batch: undefined, rate: undefined, seed: undefined, name: undefined, out: 'runs', resume: undefined, saveEvery: 250, sampling: 100 }

  test.each([
    ['', { name: 'help' }],
    ['help', { name: 'help' }],
    ['train --help', { name: 'help' }],
    ['--version', { name: 'version' }],
    ['-v', { name: 'version' }],
    ['info --threads 2', { name: 'info', info: { device: undefined, threads: 2 } }],
    ['train', { name: 'train', train }],
    ['train digits --steps 5 --batch=2 --seed 0 --rate 1e-4 --name a.b-c_1 --out x/y --device reference --save-every 7', { name: 'train', train: { ...train, device: 'reference', steps: 5, batch: 2, rate: 1e-4, seed: 0, name: 'a.b-c_1', out: 'x/y', saveEvery: 7 } }],
    ['train --resume runs/digits', { name: 'train', train: { ...train, resume: 'runs/digits' } }],
    ['sample --run r --count 3', { name: 'sample', sample: { ...none, run: 'r', count: 3, sampling: 100, seed: 0, file: undefined } }],
  ])('langevin %s', (line, command) => {
    expect(parse(line)).toEqual(command)
  })
})

describe('refuses', () => {
  test.each([
    ['fly', 'there is no command "fly"; use train, sample or info'],
    ['train faces', 'there is no data set "faces"; use digits'],
    ['train digits twice', 'what is "twice"? See langevin --help'],
    ['train --stepz 3', `Unknown option '--stepz'; see langevin --help`],
    ['train --steps', `Option '--steps <value>' argument missing; see langevin --help`],
    ['train --steps 0', '--steps is 0, but must be an integer from 1 to 1000000000'],
    ['train --steps 1.5', '--steps is 1.5, but must be an integer from 1 to 1000000000'],
    ['train --batch many', '--batch is many, but must be an integer from 1 to 65536'],
    ['train --rate -1', `Option '--rate' argument is ambiguous`],
    ['train --rate=-1', '--rate is -1, but must be a number above 0'],
    ['train --device gpu', 'there is no device "gpu"; use cpu or reference'],
    ['train --name ../up', '--name ../up is no name for a folder; use letters, digits, dots, dashes and underscores'],
    ['train --resume r --name n', '--resume goes on in the folder it names; leave out --name and --out'],
    ['train --count 3', 'langevin train has no option --count; see langevin --help'],
    ['sample', 'langevin sample needs --run DIR, the folder of a trained run'],
  ])('langevin %s', (line, message) => {
    expect(() => parse(line)).toThrow(UsageError)
    expect(() => parse(line)).toThrow(message)
  })
})

test('every option is in the help', () => {
  for (const option of ['steps', 'batch', 'rate', 'seed', 'name', 'out', 'resume', 'save-every', 'sampling', 'run', 'count', 'file', 'device', 'threads', 'verbose', 'help', 'version']) expect(help).toContain(`--${option}`)
})
