/** Which folder a run gets while other processes want one, and what to type to go on with it. */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { describe, expect, test } from 'vitest'
import { claim } from '../../cli/claim.ts'
import { FileError } from '../../cli/files.ts'
import { resumeCommand } from '../../cli/run-folder.ts'
import { Scratch } from './langevin.ts'

const source = (file: string): string => JSON.stringify(path.resolve(import.meta.dirname, '../../cli', file))

/** Processes that all want a folder, and keep what they got until all have an answer; what each got, or why it got none. */
async function contend(count: number, out: string, name: string | undefined): Promise<string[]> {
  const code = `
    const { createRun } = await import(${source('run-folder.ts')})
    console.log(await createRun(${JSON.stringify(out)}, ${JSON.stringify(name)}, 'digits').then((run) => run.name, (error) => error.message))
    process.stdin.resume()`
  const children = Array.from({ length: count }, () => spawn(process.execPath, ['--input-type=module', '--eval', code], { stdio: ['pipe', 'pipe', 'inherit'] }))
  const answers = await Promise.all(children.map((child) => new Promise<string>((resolve) => child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim())))))
  await Promise.all(children.map((child) => new Promise((resolve) => {
    child.once('exit', resolve)
    child.stdin.end()
  })))
  return answers.sort()
}

/** The number of a process that has ended. */
async function dead(): Promise<number> {
  const child = spawn(process.execPath, ['--eval', ''])
  await new Promise((resolve) => child.once('exit', resolve))
  return child.pid ?? 0
}

const slow = { timeout: 60_000 }

describe('processes that begin at once', slow, () => {
  test.each(['nothing', 'an empty folder', 'what a process left that was killed'])('find %s, and each gets a folder of its own', async (found) => {
    using scratch = new Scratch()
    if (found !== 'nothing') mkdirSync(scratch.path('digits'))
    if (found.startsWith('what')) writeFileSync(scratch.path('digits', 'running'), `${await dead()} ${hostname()}\n`)
    expect(await contend(4, scratch.folder, undefined)).toEqual(['digits', 'digits-2', 'digits-3', 'digits-4'])
    expect(readdirSync(scratch.folder, { recursive: true })).toHaveLength(4)
  })

  test('with one name, and one gets it', async () => {
    using scratch = new Scratch()
    const answers = await contend(3, scratch.folder, 'mine')
    expect(answers.filter((answer) => answer === 'mine')).toHaveLength(1)
    expect(answers.filter((answer) => /mine is in use: process \d+ trains there; let it end first, or choose another folder\. If there is no such process any more, remove \S+running$/.test(answer))).toHaveLength(2)
  })
})

describe('a claim', slow, () => {
  const claimed = (folder: string): string => readFileSync(path.join(folder, 'running'), 'utf8')
  const own = `${process.pid} ${hostname()}\n`

  test('is gone once it is given up', async () => {
    using scratch = new Scratch()
    const release = await claim(scratch.folder)
    expect([readdirSync(scratch.folder), claimed(scratch.folder)]).toEqual([['running'], own])
    release()
    expect(readdirSync(scratch.folder)).toEqual([])
  })

  test('of a dead process, of one before this with its number, and one cut short are taken over', async () => {
    using scratch = new Scratch()
    for (const left of [`${await dead()} ${hostname()}\n`, own, '', '\n']) {
      writeFileSync(scratch.path('running'), left)
      const release = await claim(scratch.folder)
      expect(claimed(scratch.folder)).toBe(own)
      release()
    }
  })

  test('of a living process stands, however old it is', async () => {
    using scratch = new Scratch()
    writeFileSync(scratch.path('running'), `${process.ppid} ${hostname()}\n`)
    utimesSync(scratch.path('running'), 1, 1)
    await expect(claim(scratch.folder)).rejects.toThrow(FileError)
    await expect(claim(scratch.folder)).rejects.toThrow(`${scratch.folder} is in use: process ${process.ppid} trains there`)
  })

  test('of another machine stands while there are signs of life', async () => {
    using scratch = new Scratch()
    writeFileSync(scratch.path('running'), `12 elsewhere-${hostname()}\n`)
    await expect(claim(scratch.folder)).rejects.toThrow(`is in use: process 12 of elsewhere-${hostname()} trains there`)
    const then = Date.now() / 1000 - 3600
    utimesSync(scratch.path('running'), then, then)
    const release = await claim(scratch.folder)
    expect(claimed(scratch.folder)).toBe(own)
    release()
  })
})

test.each([
  ['/home/me/app/node_modules/.bin/langevin', {}, 'runs/digits', 'npx langevin train --resume runs/digits'],
  ['/home/me/.npm/_npx/ab12/node_modules/.bin/langevin', { npm_lifecycle_event: 'npx' }, 'runs/digits', 'npx langevin train --resume runs/digits'],
  ['C:\\app\\node_modules\\langevin\\dist\\node\\cli.js', {}, 'runs/a', 'npx langevin train --resume runs/a'],
  ['/usr/local/bin/langevin', {}, 'runs/digits-2', 'langevin train --resume runs/digits-2'],
  [path.resolve('cli/main.ts'), {}, 'runs/digits', 'node cli/main.ts train --resume runs/digits'],
  [path.resolve('cli/main.ts'), { npm_package_name: 'langevin', npm_lifecycle_event: 'test' }, 'my runs/digits', 'node cli/main.ts train --resume "my runs/digits"'],
  [path.resolve('cli/main.ts'), { npm_package_name: 'langevin', npm_lifecycle_event: 'start' }, 'runs/digits', 'npm start -- --resume runs/digits'],
  ['/home/me/app/node_modules/.bin/langevin', { npm_package_name: 'app', npm_lifecycle_event: 'start' }, 'runs/digits', 'npx langevin train --resume runs/digits'],
])('started as %s with %o, a run in %s goes on with: %s', (started, environment, folder, command) => {
  expect(resumeCommand(folder, started, environment)).toBe(command)
})
