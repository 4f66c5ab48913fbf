"""Jobs in Redis or Valkey: for several gateways.

Every change is a script, which the server runs as a whole. A job is a hash; the names of its fields are those of `Job`.
For each status there is a sorted set of ids by the time when they are due, for each client a set of live ids and the
time of its last turn, and one number of bytes. Who has fallen silent is told by the server's clock, so that those of
the gateways need not agree.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .job import GONE, LIVE, Job, Status
from .store import LEASE_S, Bounds, Change, FullError, StoreAwayError, StoreBrokenError, When

log = logging.getLogger("edsr_gateway")

PREFIX = "{edsr-gateway}:"
CONNECT_S, ANSWER_S = 3.0, 10.0
PLAIN = frozenset({"id", "client", "status", "holder", "due", "bytes"})
"""Fields that scripts look at; the others are JSON."""

_BEGIN = """
local p = KEYS[1]
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local function at(seconds) return string.format('%.6f', seconds) end
"""
_LIVE = "{" + ", ".join(f"'{one}'" for one in LIVE) + "}"
_GONE = "{" + ", ".join(f"'{one}'" for one in GONE) + "}"

# id, client, bytes, the three bounds, then names and values. What it answers is the bound that was reached.
ADD = f"""{_BEGIN}
local id, client, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', p..'job:'..id) == 1 then return '' end
local count = 0
for _, status in ipairs({_LIVE}) do count = count + redis.call('ZCARD', p..status) end
if count >= tonumber(ARGV[4]) then return 'jobs' end
if redis.call('SCARD', p..'of:'..client) >= tonumber(ARGV[5]) then return 'jobs_per_client' end
if tonumber(redis.call('GET', p..'bytes') or '0') + bytes > tonumber(ARGV[6]) then return 'job_bytes' end
redis.call('HSET', p..'job:'..id, unpack(ARGV, 7))
redis.call('HSET', p..'job:'..id, 'status', 'queued', 'due', at(now))
redis.call('ZADD', p..'queued', at(now), id)
redis.call('SADD', p..'of:'..client, id)
redis.call('INCRBY', p..'bytes', bytes)
return ''
"""

# holder, seconds of the lease.
CLAIM = f"""{_BEGIN}
local id, client, turn
for _, one in ipairs(redis.call('ZRANGEBYSCORE', p..'queued', '-inf', at(now))) do
  local found = redis.call('HMGET', p..'job:'..one, 'client', 'done')
  if not found[1] then
    redis.call('ZREM', p..'queued', one)
  else
    local last = tonumber(redis.call('HGET', p..'turns', found[1]) or '0')
    if found[2] ~= '0' then last = -1 end
    if not id or last < turn then id, client, turn = one, found[1], last end
  end
end
if not id then return {{}} end
local key, due = p..'job:'..id, at(now + tonumber(ARGV[2]))
redis.call('HSET', key, 'status', 'running', 'holder', ARGV[1], 'due', due, 'note', '""')
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('ZREM', p..'queued', id)
redis.call('ZADD', p..'running', due, id)
redis.call('HSET', p..'turns', client, at(now))
return redis.call('HGETALL', key)
"""

# id, states with commas around them, holder or '*', '1' if it must be due, new state or '', seconds or '',
# then names and values.
CHANGE = f"""{_BEGIN}
local id, key = ARGV[1], p..'job:'..ARGV[1]
local old = redis.call('HMGET', key, 'status', 'holder', 'due', 'bytes', 'client')
if not old[1] or not string.find(ARGV[2], ','..old[1]..',', 1, true) then return {{}} end
if ARGV[3] ~= '*' and ARGV[3] ~= old[2] then return {{}} end
if ARGV[4] == '1' and tonumber(old[3]) > now then return {{}} end
if #ARGV > 6 then redis.call('HSET', key, unpack(ARGV, 7)) end
local status, due = old[1], old[3]
if ARGV[5] ~= '' then status = ARGV[5] end
if ARGV[6] ~= '' then due = at(now + tonumber(ARGV[6])) end
redis.call('HSET', key, 'status', status, 'due', due)
redis.call('ZREM', p..old[1], id)
redis.call('ZADD', p..status, due, id)
redis.call('INCRBY', p..'bytes', redis.call('HGET', key, 'bytes') - old[4])
for _, gone in ipairs({_GONE}) do
  if status == gone then
    redis.call('SREM', p..'of:'..old[5], id)
    if redis.call('SCARD', p..'of:'..old[5]) == 0 then redis.call('HDEL', p..'turns', old[5]) end
  end
end
return redis.call('HGETALL', key)
"""

# '1' if they must be due, client or '*', states.
LIST = f"""{_BEGIN}
local jobs, most = {{}}, '+inf'
if ARGV[1] == '1' then most = at(now) end
for number = 3, #ARGV do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', p..ARGV[number], '-inf', most)) do
    local job = redis.call('HGETALL', p..'job:'..id)
    if #job == 0 then
      redis.call('ZREM', p..ARGV[number], id)
    elseif ARGV[2] == '*' or redis.call('HGET', p..'job:'..id, 'client') == ARGV[2] then
      jobs[#jobs + 1] = job
    end
  end
end
return jobs
"""

# How many may be kept.
FORGET = f"""{_BEGIN}
for _, gone in ipairs({_GONE}) do
  local function forget(ids)
    for _, id in ipairs(ids) do
      redis.call('DEL', p..'job:'..id)
      redis.call('ZREM', p..gone, id)
    end
  end
  forget(redis.call('ZRANGEBYSCORE', p..gone, '-inf', at(now), 'LIMIT', 0, 1000))
  local over = redis.call('ZCARD', p..gone) - tonumber(ARGV[1])
  if over > 0 then forget(redis.call('ZRANGE', p..gone, 0, math.min(over, 1000) - 1)) end
end
return ''
"""


class RedisStore:
    """The store in the Redis or Valkey at `url`; nothing is sent before the first use.

    Raises:
        StoreBrokenError: the address is none.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._where = parts.hostname or parts.path
            self._redis: Any = Redis.from_url(
                url,
                decode_responses=True,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),  # a script that may have run is not sent again
            )
        except ValueError as error:
            raise StoreBrokenError(
                f"The address of Redis is none: {error}. Write redis://host:6379/0, or rediss:// for TLS."
            ) from None
        self._scripts = {text: self._redis.register_script(text) for text in (ADD, CLAIM, CHANGE, LIST, FORGET)}

    async def close(self) -> None:
        await self._redis.aclose()

    async def add(self, job: Job, bounds: Bounds) -> None:
        values = {one.name: getattr(job, one.name) for one in fields(Job)}
        bound = await self._run(
            ADD, job.id, job.client, job.bytes, bounds.jobs, bounds.jobs_per_client, bounds.job_bytes, *_written(values)
        )
        if bound:
            raise FullError(bound)

    async def get(self, job_id: str) -> Job | None:
        return _job(await self._answer(self._redis.hgetall(f"{PREFIX}job:{job_id}")))

    async def jobs(
        self, status: Sequence[Status] = LIVE, *, client: str | None = None, overdue: bool = False
    ) -> list[Job]:
        found = await self._run(LIST, int(overdue), "*" if client is None else client, *status)
        jobs = [job for job in (_job(_pairs(flat)) for flat in found) if job is not None]
        return sorted(jobs, key=lambda job: job.due)

    async def claim(self, holder: str) -> Job | None:
        return _job(_pairs(await self._run(CLAIM, holder, LEASE_S)))

    async def change(self, job_id: str, when: When, change: Change) -> Job | None:
        return _job(
            _pairs(
                await self._run(
                    CHANGE,
                    job_id,
                    f",{','.join(when.status)},",
                    "*" if when.holder is None else when.holder,
                    int(when.overdue),
                    change.status or "",
                    "" if change.due_in is None else change.due_in,
                    *_written(change.fields),
                )
            )
        )

    async def size(self) -> int:
        return int(await self._answer(self._redis.get(f"{PREFIX}bytes")) or 0)

    async def forget(self, most: int) -> None:
        await self._run(FORGET, most)

    async def _run(self, text: str, *values: Any) -> Any:
        return await self._answer(self._scripts[text](keys=[PREFIX], args=values))

    async def _answer(self, asked: Any) -> Any:
        try:
            return await asked
        except (RedisError, OSError) as error:
            raise StoreAwayError(f"Redis at {self._where} does not do its work: {type(error).__name__}") from None


def _written(values: Any) -> list[Any]:
    """Names and values, one after the other."""
    flat: list[Any] = []
    for name, value in values.items():
        flat += [name, value if name in PLAIN else json.dumps(dict(value) if hasattr(value, "items") else value)]
    return flat


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _job(found: dict[str, str]) -> Job | None:
    if not found:
        return None
    values: dict[str, Any] = {name: value if name in PLAIN else json.loads(value) for name, value in found.items()}
    return Job(**{**values, "due": float(values["due"]), "bytes": int(values["bytes"])})
