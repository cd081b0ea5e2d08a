"""The Python agent: the protocol of protocol/*.ts, spoken by an interpreter that has nothing but its standard library.

Its sections are named after the files of protocol/, whose comments hold the grammar of the wire. It has three parts. What the
first result needs stands before the line "later"; what follows that is compiled when it is first used or when there is time,
because that takes longer than connecting. Modules that take long to import (json, re, threading) are left alone until
then. What follows the line "rest" calls the caller and has streams, coroutines and files: the caller sends it when it is first needed.

Threads: whoever has nothing to do reads, and runs what it has read. The main thread does so when it is idle, so that an
ordinary call changes no thread; a thread that waits for an answer does so while it waits. Only where nobody reads,
because the main thread has been at a call for a moment, does the watcher read, and gives calls to the pool.
"""
import builtins
import gc
import io
import os
import select
import sys
import _thread
from _collections import deque

try:
    from _struct import Struct
    from _json import make_encoder, make_scanner, encode_basestring_ascii as quote
except ImportError:
    from struct import Struct
    make_encoder = make_scanner = None
    from json.encoder import encode_basestring_ascii as quote

G = globals()
# The source of the next part, where it is there and is not compiled yet.
LATER = G.get("LATER", "")
load_lock = _thread.RLock()


def load():
    """Compiles the next part."""
    global LATER
    with load_lock:
        if LATER:
            made = {}
            exec(compile(LATER, "pushy:agent", "exec"), G, made)
            # At once: another thread finds all of it or none.
            G.update(made)
            LATER = ""


def later(names):
    """Functions of the second part: the first call of one compiles that."""
    for name in names.split():
        G[name] = stub(name)


def stub(name):
    def call(*args):
        load()
        return G[name](*args)
    return call


later("clear_cancel decode_call fail make_function make_scope on_chunk on_other other_access other_member other_name other_reply "
      "output read_exactly rouse run_source when_whole write_piece")


def bring(name):
    """Imports a module of the standard library, whatever the working folder has under that name."""
    with load_lock:
        path = sys.path
        try:
            if name not in sys.modules:
                # Another list: a thread that imports something else is going through the first one.
                sys.path = [folder for folder in path if folder]
            # One that another thread is about to import is waited for.
            __import__(name)
        finally:
            sys.path = path
    return sys.modules[name]


def calm(work):
    """Makes `work`, which holds a lock, collect no garbage: a destructor may call the other side, or print, and need that lock."""
    def calmly(*args):
        collects = gc.isenabled()
        try:
            gc.disable()
            return work(*args)
        finally:
            if collects:
                gc.enable()
    return calmly


# Objects that the peer holds no more. Their destructors run where a call does, not where the peer is read.
trash = deque()


def drop(value):
    if not trash:
        queue.append(trash.clear)
    trash.append(value)


# ---- limits

LIMITS = {
    "frameBytes": 4 << 20,
    "valueBytes": 1 << 31,
    "incomingBytes": 1 << 32,
    "depth": 500,
    "pendingCalls": 1000000,
    "channels": 100000,
}

# ---- errors


class ProtocolError(Exception):
    """What the peer sent against the rules: the agent ends."""


class Cancelled(BaseException):
    """The caller has lost interest in the call that this is raised in."""


class UncrossableError(TypeError):
    """A value that cannot cross."""


def known(table, number):
    found = table.get(number)
    if found is None:
        raise ProtocolError("number %s, which stands for nothing" % number)
    return found


def exceeded(name, what):
    raise ProtocolError("more than %d %s (limits.%s)" % (LIMITS[name], what, name))


# ---- frame

HEAD = Struct("<III")
pack = HEAD.pack
unpack = HEAD.unpack_from
CHUNK = 0xFFFFFFFF
PIECE = 256 << 10
READ = 3
WRITE = 4
DIGITS = bytes.maketrans(b"123456789", b"000000000")
SAFE = (1 << 53) - 1
left = b""


def to_number(text):
    value = int(text)
    return value if -SAFE <= value <= SAFE else float(text)


def refuse(text):
    raise ProtocolError("malformed JSON")


try:
    class Context:
        strict = True
        object_hook = object_pairs_hook = array_hook = None
        parse_float = float
        parse_int = int
        parse_constant = staticmethod(refuse)
        memo = {}

    scan = make_scanner(Context)
    Context.parse_int = staticmethod(to_number)
    scan_large = make_scanner(Context)
    encode_plain = make_encoder(None, None, quote, None, ":", ",", False, False, False)
except (AttributeError, TypeError):
    # There are none, or they want something else: they are json's own, and no promise.
    from json import dumps, loads

    def scan(text, at):
        return loads(text, parse_constant=refuse), len(text)

    def scan_large(text, at):
        return loads(text, parse_int=to_number, parse_constant=refuse), len(text)

    def encode_plain(value, depth):
        return dumps(value, separators=(",", ":"), allow_nan=False)


def parse(data):
    text = data.decode()
    try:
        # A number that JavaScript takes for no integer is none here either; it has sixteen digits at least.
        value, end = (scan_large if b"0000000000000000" in data.translate(DIGITS) else scan)(text, 0)
    except (ValueError, StopIteration):
        end = -1
    except RecursionError:
        raise ProtocolError("a value that is nested too deep (limits.depth)")
    if end != len(text):
        raise ProtocolError("malformed JSON")
    return value


def receive():
    """Takes in what has come, and waits for it if nothing has. The baton is held."""
    global left
    data = os.read(READ, 12 if blobs and not left else 65536)
    if not data:
        finish(False)
    if left:
        data = left + data
    at = 0
    size = len(data)
    # A destructor that calls the other side would wait for what only this thread reads.
    collects = gc.isenabled()
    gc.disable()
    try:
        while size - at >= 12:
            length, word, text_length = unpack(data, at)
            if length > LIMITS["frameBytes"]:
                exceeded("frameBytes", "bytes in a frame")
            at += 12
            if text_length == CHUNK:
                at = on_chunk(word - (1 << 32) if word >> 31 else word, data, at, length)
                continue
            if text_length > length:
                raise ProtocolError("a frame whose text is longer")
            end = at + length
            if end > size:
                data = data[at:] + read_exactly(end - size)
                at = 0
                size = end = length
            middle = at + text_length
            if text_length:
                messages = parse(data[at:middle])
                attached = data[middle:end] if middle < end else b""
                for message in messages:
                    HANDLERS.get(message[0], on_other)(message, attached)
            if word != peer_processed:
                acknowledged(word)
            at = end
    except Exception as error:
        fail(error)
    finally:
        if collects:
            gc.enable()
    left = data[at:] if at < size else b""


# ---- values

NONE = type(None)


def fast_int(value):
    return str(value) if -SAFE <= value <= SAFE else None


def fast_float(value):
    return repr(value) if value - value == 0 else None


def fast_str(value):
    return quote(value) if len(value) <= 16384 else None


FAST = {
    int: fast_int,
    str: fast_str,
    float: fast_float,
    bool: lambda value: "true" if value else "false",
    NONE: lambda value: "null",
}
SCALARS = set(FAST)


def all_plain(values):
    """What kinds of values these are, if JSON is enough for each of those that hold no others."""
    kinds = set(map(type, values))
    if int in kinds:
        if len(kinds) == 1:
            if max(values) > SAFE or min(values) < -SAFE:
                return None
        elif any(type(v) is int and not -SAFE <= v <= SAFE for v in values):
            return None
    return kinds - SCALARS


def is_plain(value, depth, seen):
    """Is JSON enough for this? What is shared or holds itself is not plain: JSON would lose that."""
    kind = type(value)
    if kind is dict:
        if value and set(map(type, value)) != {str}:
            return False
        values = value.values()
    elif kind is list or kind is tuple:
        values = value
    else:
        return kind in SCALARS
    if depth <= 0 or id(value) in seen:
        return False
    seen.add(id(value))
    kinds = all_plain(values) if values else ()
    if kinds is None:
        return False
    if not kinds:
        return True
    if not kinds <= {dict, list, tuple}:
        return False
    for item in values:
        if type(item) not in SCALARS and not is_plain(item, depth - 1, seen):
            return False
    return True


def plain_text(value):
    """The JSON text of a plain value, or None if it is not plain."""
    if type(value) not in (dict, list, tuple) or not is_plain(value, LIMITS["depth"], set()):
        return None
    try:
        return "".join(encode_plain(value, 0))
    except ValueError:
        return None


# ---- references


exports = {}
exported = {}
export_lock = _thread.allocate_lock()
last_export = 0

# ---- access

MODULE = type(sys)


class Kwargs(dict):
    """Keyword arguments."""


class Root(dict):
    """What the caller finds at target 0."""


class Scope(dict):
    """Variables that outlive the code that made them."""


class Modules:
    """Reading a name imports it."""

    def __getattr__(self, name):
        __import__(name)
        return sys.modules[name]


def step(value, key):
    """What a value has under a name: a dict's own item first, else an attribute."""
    kind = type(value)
    if kind is dict or kind is Scope or kind is Root:
        if key in value:
            return value[key]
        if kind is not dict:
            return other_name(value, key)
    try:
        return getattr(value, key)
    except AttributeError as error:
        return other_member(value, key, error)


def access(value, path, how, args):
    """The caller may do anything."""
    named = {}
    if args and type(args[-1]) is Kwargs:
        named = args[-1]
        args = args[:-1]
    if how > 2:
        return other_access(value, path, how, args)
    if not path:
        return value(*args, **named) if how else value
    for key in path[:-1]:
        value = step(value, key)
    key = path[-1]
    if not how:
        return step(value, key)
    if type(value) is dict and value is not MAIN:
        # A method of the dict comes first in a call, else an item that can be called.
        method = getattr(value, key, None) or step(value, key)
    else:
        method = step(value, key)
    return method(*args, **named)


# ---- calls


PENDING, DONE, FAILED = 0, 1, 2


class Answer:
    """A call that the peer made."""
    dropped = sent = cancelled = False
    state = PENDING
    waiting = thread = pins = task = args = base = None
    parent = 0


answers = {}
questions = {}
# Answers that were sent and may still be used by the peer, in that order.
unacknowledged = deque()
peer_processed = 0
processed = 0
last_answer = 0
state_lock = _thread.allocate_lock()


def on_call(message, attached):
    global last_answer
    size = len(message)
    number = message[1]
    if type(number) is not int or number <= last_answer:
        raise ProtocolError("a call whose number is not new")
    last_answer = number
    if len(answers) >= LIMITS["pendingCalls"]:
        exceeded("pendingCalls", "calls")
    answer = Answer()
    answer.id = number
    answer.wanted = message[0] == 2
    answer.target = message[2]
    answer.path = message[3]
    answer.how = message[4]
    answers[number] = answer
    answer.args = message[5] if size > 5 else ()
    if size > 6:
        if size > 7:
            answer.parent = message[7]
        if message[6] or size > 8:
            decode_call(answer, message, attached)
            return
    begin(answer)


def begin(answer):
    """The arguments are there: finds the target, and waits for it if it is on its way."""
    target = answer.target
    if target < 0:
        answer.base = known(exports, -target).value
    elif target == 0:
        answer.base = ROOT
    else:
        earlier = known(answers, target)
        when_over(earlier, lambda: based(answer, earlier))
        return
    if answer.parent:
        enqueue(answer)
    else:
        queue.append(answer)


def when_over(call, then):
    """Goes on when a call, of either side, has its result."""
    with state_lock:
        if call.state == PENDING:
            call.waiting = call.waiting or []
            call.waiting.append(then)
            return
    then()


def based(answer, earlier):
    if earlier.state == FAILED:
        settle(answer, FAILED, earlier.value)
    else:
        answer.base = earlier.value
        enqueue(answer)


def enqueue(answer):
    """A call goes to the thread that waits for the call that it descends from, or to whoever is free."""
    if answer.parent:
        question = questions.get(answer.parent)
        thread = question and question.thread
        if thread:
            thread.inbox.append(answer)
            thread.wake()
            return
    queue.append(answer)


@calm
def settle(answer, state, value):
    with state_lock:
        if answer.state != PENDING:
            return
        answer.value = value
        answer.state = state
        waiting = answer.waiting
        if waiting:
            answer.waiting = None
        if answer.pins:
            answer.pins = None
        # What is dropped with them may run code: not while the lock is held.
        args, base = answer.args, answer.base
        answer.args = answer.base = None
        mine = (answer.wanted or answer.dropped or state == FAILED) and not answer.sent
        if mine:
            answer.sent = True
    if waiting:
        for then in waiting:
            then()
        if queue and current() is not main:
            rouse()
    if mine:
        reply(answer)


def reply(answer):
    value = answer.value
    text = None
    if answer.state == DONE:
        if answer.dropped:
            text = "null"
        else:
            kind = type(value)
            text = FAST[kind](value) if kind in FAST else plain_text(value)
    if text is None or len(text) > 65536:
        other_reply(answer)
    else:
        post("[4,%d,%s]" % (answer.id, text), answer.id)


def acknowledged(word):
    global peer_processed
    more = (word - peer_processed) & 0xFFFFFFFF
    if more > len(unacknowledged):
        raise ProtocolError("acknowledgements of nothing")
    peer_processed = word
    if deferred:
        after_deferred.append(lambda: forget(more))
    else:
        forget(more)


def forget(more):
    while more:
        answer = answers.pop(unacknowledged.popleft(), None)
        if answer and type(answer.value) not in SCALARS:
            drop(answer)
        more -= 1


# ---- channels

blobs = {}
deferred = 0
after_deferred = []

# ---- outbox

out_lock = _thread.allocate_lock()
write_lock = _thread.allocate_lock()
# The thread that writes.
writer = 0
pending = []
pending_size = 0
attached_parts = []
attached_size = 0
sealed = deque()
# Large values whose message is still pending, and those that are being sent.
new_bulks = []
bulks = deque()
dropped = deque()
sent_processed = 0


@calm
def post(text, answer=0, parcel=None):
    """Queues a message; it leaves with the next flush."""
    global pending_size
    with out_lock:
        if parcel:
            text = parcel(text)
        pending.append(text)
        pending_size += len(text)
        if answer:
            unacknowledged.append(answer)
        if pending_size + attached_size > 524288:
            seal()


def seal():
    """Makes a frame of what is pending. The lock is held."""
    global pending, pending_size, attached_parts, attached_size, sent_processed
    if dropped:
        counts = {}
        while dropped:
            number, count = dropped.popleft()
            counts[-number] = counts.get(-number, 0) + count
        pending.append("[6,[%s]]" % ",".join("%d,%d" % item for item in counts.items()))
    text = ("[" + ",".join(pending) + "]").encode() if pending else b""
    sent_processed = processed
    size = len(text)
    frame = pack(size + attached_size, processed & 0xFFFFFFFF, size) + text
    if attached_parts:
        frame += b"".join(attached_parts)
        attached_parts = []
        attached_size = 0
    sealed.append(frame)
    pending = []
    pending_size = 0


def write_all(data):
    try:
        sent = os.write(WRITE, data)
        while sent < len(data):
            data = memoryview(data)[sent:]
            sent = os.write(WRITE, data)
    except OSError:
        finish(False)


@calm
def gather():
    """What is pending is what comes next."""
    with out_lock:
        if pending or dropped or not (sealed or new_bulks or bulks):
            seal()
        if new_bulks:
            bulks.extend(new_bulks)
            del new_bulks[:]


def flush():
    """Writes what there is, unless another thread is at it: that one takes it along."""
    global writer
    while pending or sealed or new_bulks or bulks or dropped or processed - sent_processed > 1000:
        if not write_lock.acquire(False):
            return
        writer = _thread.get_ident()
        try:
            gather()
            while sealed:
                write_all(sealed.popleft())
            if bulks:
                write_piece()
        finally:
            writer = 0
            write_lock.release()

# ---- session

local = _thread._local()
queue = deque()
baton = _thread.allocate_lock()
cancel_lock = _thread.allocate_lock()
# Threads that wait for something that only arrives if somebody reads.
waiters = []
idle = []
pumps = set()
started = 0
# How often the main thread has taken something from the queue.
turns = 0
workers = 0
main_idle = False
asleep = True
TICK = 5


class Thread:
    """A thread that runs calls."""

    def __init__(self):
        self.lock = _thread.allocate_lock()
        self.lock.acquire()
        self.inbox = deque()
        self.stack = []
        self.ident = _thread.get_ident()
        self.waiting = 0
        self.working = False
        # One for each thread: a poll object serves one at a time.
        poll = select.poll()
        poll.register(print_read, 1)
        self.printed = poll.poll
        local.thread = self

    def wake(self):
        try:
            self.lock.release()
        except RuntimeError:
            pass


def current():
    try:
        return local.thread
    except AttributeError:
        return Thread()


def perform(answer, thread):
    """Runs a call, or a piece of work."""
    global started
    started += 1
    if asleep:
        wake_watcher()
    if answer.__class__ is not Answer:
        thread.working = True
        try:
            answer()
        finally:
            thread.working = False
        return
    if answer.cancelled:
        settle(answer, FAILED, Cancelled("The call was cancelled before it began"))
        return
    try:
        answer.thread = thread
        thread.stack.append(answer)
        try:
            value = access(answer.base, answer.path, answer.how, answer.args)
            state = DONE
        except BaseException as error:
            value = error
            state = FAILED
        ended(answer, thread)
    except Cancelled as error:
        value = error
        state = FAILED
        ended(answer, thread)
    if thread.printed(0) or pump_lock.locked():
        drain()
    kind = type(value)
    if state == DONE and kind not in SCALARS and hasattr(kind, "__await__"):
        when_whole(lambda: start_async(answer, value))
    else:
        settle(answer, state, value)


@calm
def ended(answer, thread):
    """After this no cancellation is raised for that call."""
    with cancel_lock:
        if answer.thread:
            answer.thread = None
            thread.stack.pop()
            if answer.cancelled:
                clear_cancel(thread)


def pass_on():
    """Whoever stops reading lets another thread that waits read."""
    try:
        waiters[-1].wake()
    except IndexError:
        pass


def attempt(work, *args):
    """What fails here is not the peer's fault and not a call's: it is told on standard error."""
    try:
        work(*args)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)


def serve():
    """The main thread: reads when it is idle, and runs what it has read."""
    global main_idle, turns
    while True:
        while queue:
            try:
                answer = queue.popleft()
            except IndexError:
                break
            turns += 1
            perform(answer, main)
            if pending_size > 32768:
                flush()
        flush()
        if baton.acquire(False):
            try:
                if not queue:
                    receive()
            finally:
                baton.release()
            if waiters:
                pass_on()
            continue
        main_idle = True
        waiters.append(main)
        try:
            if not queue and baton.locked():
                main.lock.acquire()
        finally:
            main_idle = False
            waiters.remove(main)


def first_watch():
    """Compiles the second part when the main thread has been at a call for a moment, or at none for a while; then it is the watcher."""
    pause = select.poll().poll
    before = -1
    calm = 0
    while before != started or baton.locked() and calm < 4:
        calm = calm + 1 if before == started else 0
        before = started
        pause(TICK)
    load()
    G["watch"]()


def wake_watcher():
    global asleep
    asleep = False
    os.write(wake_write, b"!")


def abandon():
    """Takes away what a copy has left unfinished."""


def finish(clean):
    """Ends the agent, and its process group if it leads one."""
    try:
        abandon()
        if clean:
            if current() is main and not main.stack:
                bring("atexit")._run_exitfuncs()
            try:
                bring("_signal").signal(15, 1)
            except ValueError:
                pass
        os.killpg(os.getpid(), 15 if clean else 9)
    except BaseException:
        pass
    os._exit(0 if clean else 1)


def on_bye(message, attached):
    finish(True)


def on_hello(message, attached):
    LIMITS.update(message[1].get("limits") or {})


HANDLERS = {1: on_call, 2: on_call, 16: on_hello, 17: on_bye}

# ---- evaluate

sources = {}
source_count = 0


def named(source):
    """A name for some source, under which a traceback finds its lines."""
    global source_count
    source_count += 1
    name = "<pushy %d>" % source_count
    sources[name] = source
    if len(sources) > 500:
        del sources[next(iter(sources))]
    return name


AWAIT = 0x2000 if sys.version_info >= (3, 8) else 0


def scope_of(scope):
    """A scope, or one for a single call that begins with these variables; without any, that of the connection."""
    if scope is None:
        return MAIN
    return scope if isinstance(scope, Scope) else make_scope(scope)


def evaluate(source, scope=None):
    """The value of an expression, in which await may be used; else that of the last statement."""
    scope = scope_of(scope)
    source = source.strip()
    name = named(source)
    try:
        code = compile(source, name, "eval", AWAIT, True)
    except SyntaxError:
        return run_source(source, scope, name)
    return eval(code, scope)


MAIN = sys.modules["__main__"].__dict__
MODULES = Modules()
ROOT = Root({
    "modules": MODULES,
    "builtins": builtins,
    "globals": MAIN,
    "import": MODULES.__getattr__,
    "eval": evaluate,
    "execute": lambda source, scope=None: run_source(source, scope_of(scope)),
    "compile": lambda *args: make_function(*args),
    "scope": lambda initial=(): make_scope(initial),
})

# ---- output


class Output(io.RawIOBase):
    """What is printed becomes output messages, in order with results."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def writable(self):
        return True

    def fileno(self):
        return self.descriptor

    def write(self, data):
        data = bytes(data)
        output(self.descriptor, data)
        return len(data)


pump_lock = _thread.allocate_lock()


def drain():
    """Takes what came through descriptor 1: from children, and from whoever writes to it by number."""
    with pump_lock:
        printed = current().printed
        while printed(0):
            output(1, os.read(print_read, 65536))


# ---- agent


def start(path):
    """Runs the agent. `path` is the module path, without what the loader has put aside."""
    global main, print_read, wake_read, wake_write
    # Set by the command for this process alone, see runtime/huge_pages.ts.
    if os.environ.get("GLIBC_TUNABLES") == "glibc.malloc.hugetlb=1":
        os.environ.pop("GLIBC_TUNABLES")
    for fd in (READ, WRITE):
        os.set_blocking(fd, True)
        os.set_inheritable(fd, False)
    print_read, print_write = os.pipe()
    main = Thread()
    os.dup2(print_write, 1)
    os.close(print_write)
    wake_read, wake_write = os.pipe()
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(Output(fd), "utf-8", "backslashreplace", "\n", False, True)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)
    sys.argv = [""]
    banner = '\nPUSHY/1 {"runtime":"python","version":"%d.%d.%d","pid":%d,"platform":"%s","threads":true}\n' % (
        sys.version_info[:3] + (os.getpid(), sys.platform))
    write_all(banner.encode())
    sys.path[:] = path
    _thread.start_new_thread(first_watch, ())
    while True:
        try:
            serve()
        except (KeyboardInterrupt, Cancelled):
            # It came too late for the call that it was meant for.
            pass
        except Exception:
            sys.excepthook(*sys.exc_info())


# ==== later
# ---- text


def label_of(value):
    """What a reference is, as of now."""
    try:
        shown = repr(value)
    except BaseException as error:
        shown = "(its repr failed: %s)" % type(error).__name__
    return ("%s %s" % (type(value).__name__, shown))[:160]

# ---- errors


class RemoteError(Exception):
    """An error of the other side; one whose class Python has as well is of that class too."""
    type = "Error"
    remote_stack = ""


error_classes = {}


def make_error(kind, message, stack, properties):
    known = error_classes.get(kind)
    if known is None:
        known = RemoteError
        base = getattr(builtins, kind, None)
        if isinstance(base, type) and issubclass(base, Exception) and len(error_classes) < 1000:
            try:
                known = type(kind, (RemoteError, base), {"__module__": "builtins"})
                known(message)
            except TypeError:
                known = RemoteError
            error_classes[kind] = known
    error = known(message)
    error.type = kind
    error.remote_stack = stack
    for name in properties:
        if name.isidentifier() and not name.startswith("_") and not hasattr(error, name):
            setattr(error, name, properties[name])
    return error


def error_parts(error):
    """The type, the message, the traceback and the plain properties of an exception. This does not throw."""
    kind = error.type if isinstance(error, RemoteError) else type(error).__name__
    try:
        message = str(error)
    except Exception:
        message = ""
    properties = {}
    for name in "errno strerror filename filename2 code lineno offset path returncode".split():
        properties[name] = getattr(error, name, None)
    if isinstance(error, OSError) and type(error.errno) is int:
        # The name that the system has for it.
        properties["code"] = bring("errno").errorcode.get(error.errno)
    properties.update(getattr(error, "__dict__", {}))
    plain = {}
    for name in properties:
        value = properties[name]
        if value is not None and name not in ("type", "remote_stack", "name") and type(value) in SCALARS:
            plain[name] = value
    linecache = bring("linecache")
    for name in list(sources):
        if name not in linecache.cache and name in sources:
            lines = (sources[name] + "\n").splitlines(True)
            linecache.cache[name] = (len(sources[name]), None, lines, name)
    try:
        stack = "".join(bring("traceback").format_exception(type(error), error, error.__traceback__))
    except Exception:
        stack = kind
    if isinstance(error, RemoteError) and error.remote_stack:
        stack += "\n" + error.remote_stack
    return kind, message, stack.rstrip(), plain

# ---- frame


def read_exactly(size):
    parts = []
    while size > 0:
        parts.append(os.read(READ, min(size, 1 << 20)))
        if not parts[-1]:
            finish(False)
        size -= len(parts[-1])
    return b"".join(parts)

# ---- values

VIEWS = dict(zip(
    ("Int8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array Float32Array Float64Array "
     "BigInt64Array BigUint64Array").split(), "bBhHiIfdqQ"))


class Lacking(BaseException):
    """What a value needs in order to cross has not come yet."""


def missing(outgoing, value, depth):
    raise Lacking


def other(outgoing, value, depth):
    """The rest has another, which knows what to do with these."""
    kind = type(value)
    if (hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__anext__")
            or hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools")):
        raise Lacking
    return outgoing.refer(value)


def named_encoder(base):
    """The same for what is no type of Python itself."""
    return base.__module__.split(".")[0] in "array datetime decimal enum numpy pathlib" and missing


class Outgoing:
    """What one outgoing message takes with it. The numbers of offsets and channels are put in when it is queued."""

    def __init__(self, inline=False):
        self.inline = inline
        self.spots = []
        self.blobs = []
        self.introduced = []
        self.seen = {}
        self.count = 0
        self.kept = []

    def encode(self, value):
        """Its text, and whether that is tagged. If it cannot be sent, nothing of it has happened."""
        fast = FAST.get(type(value))
        text = fast(value) if fast else plain_text(value)
        if text is not None:
            return text, 0
        try:
            return self.value(value, LIMITS["depth"]), 1
        except RecursionError:
            self.withdraw()
            raise UncrossableError("Cannot send it: it is nested too deep (limits.depth, and what sys.getrecursionlimit() leaves)")
        except BaseException:
            self.withdraw()
            raise

    def withdraw(self):
        for entry in self.introduced:
            give_back(entry.id, 1)

    def place(self, text, form):
        """Puts the numbers in. The outbox's lock is held."""
        if self.spots:
            parts = text.split("\x01")
            for i in range(len(self.spots)):
                parts[i] += str(self.number(self.spots[i]))
            text = "".join(parts)
        if len(text) > 65536 and not self.inline:
            data = text.encode()
            text = '["J",%d,%d,%d]' % (self.number(data), len(data), form)
            form = 1
        return text, form

    def number(self, spot):
        global attached_size, last_channel
        if callable(spot):
            last_channel += 1
            spot(last_channel)
            return last_channel
        size = len(spot)
        if self.inline or not size or size <= 16384 and attached_size + size <= 524288:
            attached_parts.append(spot)
            attached_size += size
            return attached_size - size
        last_channel += 1
        new_bulks.append([last_channel, memoryview(spot), 0, None])
        self.blobs += [last_channel, size]
        return -last_channel

    def tail(self, form):
        return ",%d,[%s]" % (form, ",".join(map(str, self.blobs))) if self.blobs else ",1" if form else ""

    def begin(self, value):
        self.seen[id(value)] = self.count
        self.count += 1
        self.kept.append(value)

    def attach(self, data):
        if len(data) > LIMITS["valueBytes"]:
            raise UncrossableError("Cannot send a value of %d bytes; limits.valueBytes is %d" % (
                len(data), LIMITS["valueBytes"]))
        self.spots.append(data)
        return "\x01,%d" % len(data)

    def bytes(self, kind, data):
        self.count += 1
        return '["b","%s",%s]' % (kind, self.attach(data))

    def value(self, value, depth):
        kind = type(value)
        fast = FAST.get(kind)
        if fast:
            return fast(value) or self.scalar(value)
        before = self.seen.get(id(value))
        if before is not None:
            return '["#",%d]' % before
        if depth <= 0:
            raise RecursionError
        encode = ENCODERS.get(kind)
        if encode is None:
            for base in kind.__mro__[:-1]:
                encode = ENCODERS.get(base) or named_encoder(base)
                if encode:
                    break
            else:
                encode = other
        return encode(self, value, depth)

    def scalar(self, value):
        if type(value) is int:
            return '["i","%x"]' % value
        if type(value) is float:
            return '["n","%s"]' % ("NaN" if value != value else "Infinity" if value > 0 else "-Infinity")
        if not self.inline:
            try:
                return '["t",%s]' % self.attach(value.encode())
            except UnicodeEncodeError:
                # A lone surrogate has no UTF-8; JSON escapes it.
                pass
        return quote(value)

    def list(self, value, depth):
        if isinstance(value, tuple) and (hasattr(value, "_fields") or hasattr(value, "n_fields")):
            return self.refer(value)
        return self.many("[0", value, list(value), depth)

    def many(self, start, value, items, depth):
        self.begin(value)
        return ",".join([start] + [self.value(item, depth - 1) for item in items]) + "]"

    def record(self, items, depth):
        return "{%s}" % ",".join([quote(key) + ":" + self.value(item, depth - 1) for key, item in items])

    def set(self, value, depth):
        return self.many('["s"', value, list(value), depth)

    def dict(self, value, depth):
        if type(value) is Scope or value is MAIN or value is ROOT:
            return self.refer(value)
        items = list(value.items())
        if all(type(key) is str for key, item in items):
            if callable(value.get("then")):
                return self.refer(value)
            self.begin(value)
            return self.record(items, depth)
        return self.many('["m"', value, [part for item in items for part in item], depth)

    def raw(self, value, depth):
        return self.bytes("Uint8Array", bytes(value))

    def error(self, value, depth):
        self.begin(value)
        kind, message, stack, properties = error_parts(value)
        fields = self.record(properties.items(), depth)
        cause = value.__cause__
        if cause is None and not value.__suppress_context__:
            cause = value.__context__
        errors = getattr(value, "exceptions", None)
        return '["e",%s,%s,%s,%s,%s,%s]' % (
            quote(kind), quote(message), quote(stack), fields,
            "0" if cause is None else "[%s]" % self.value(cause, depth - 1),
            self.value(list(errors), depth - 1) if isinstance(errors, (list, tuple)) else "0")

    def kwargs(self, value, depth):
        return '["k",%s]' % self.dict(dict(value), depth)

    def refer(self, value, depth=0):
        entry = introduce(value)
        self.introduced.append(entry)
        return '["r",%d,4,%s]' % (entry.id, quote(label_of(value)))


ENCODERS = {
    list: Outgoing.list,
    tuple: Outgoing.list,
    dict: Outgoing.dict,
    set: Outgoing.set,
    frozenset: Outgoing.set,
    bytes: Outgoing.raw,
    bytearray: Outgoing.raw,
    memoryview: missing,
    BaseException: Outgoing.error,
    Kwargs: Outgoing.kwargs,
    Root: Outgoing.refer,
    type: Outgoing.refer,
    int: lambda self, value, depth: self.value(int(value), depth),
    float: lambda self, value, depth: self.value(float(value), depth),
    str: lambda self, value, depth: self.value(str.__str__(value), depth),
}
class Pending(list):
    """A value that is not there yet: the places that it belongs in."""


class Refused(Exception):
    """What Python has no value for: the call fails, and the connection stays."""


class Incoming:
    """Takes in what one incoming message brings."""

    def __init__(self, attached, answer=None):
        self.attached = attached
        self.answer = answer
        self.objects = []
        self.lives = []
        self.waiting = []
        self.depth = 0
        self.refused = None

    def top(self, value, form):
        if form != 1:
            return value
        if type(value) is list and value and value[0] == "J":
            form = value[3]
            value = parse(bytes(self.bytes(value[1], value[2])))
            if form != 1:
                return value
        holder = [None]
        holder[0] = self.at(holder, 0, value)
        self.holder = holder
        return holder[0]

    def at(self, container, key, value):
        decoded = self.value(value)
        if type(decoded) is Pending:
            decoded.append((container, key))
            return None
        return decoded

    def value(self, value):
        kind = type(value)
        if kind is list:
            self.depth += 1
            if self.depth > LIMITS["depth"] + 2:
                raise ProtocolError("a value that is nested too deep (limits.depth)")
            value = DECODERS[value[0]](self, value)
            self.depth -= 1
        elif kind is dict:
            self.depth += 1
            self.objects.append(value)
            for key in value:
                item = value[key]
                if type(item) is list or type(item) is dict:
                    value[key] = self.at(value, key, item)
            self.depth -= 1
        return value

    def keep(self, value):
        self.objects.append(value)
        return value

    def bytes(self, position, size):
        if position < 0:
            blob = blobs.pop(-position)
            if blob.size != size or blob.filled != size:
                raise ProtocolError("a value without its bytes")
            blob.view.release()
            return blob.buffer.getvalue()
        if not 0 <= position <= position + size <= len(self.attached):
            raise ProtocolError("a value without its bytes")
        return self.attached[position:position + size]

    def list(self, tag):
        self.objects.append(tag)
        del tag[0]
        i = 0
        while i < len(tag):
            item = tag[i]
            if type(item) is list:
                if item[0] == "h":
                    if item[1] > 10000000:
                        raise Refused("Cannot take an array with %d holes in Python" % item[1])
                    tag[i:i + 1] = [None] * item[1]
                    i += item[1]
                    continue
                tag[i] = self.at(tag, i, item)
            elif type(item) is dict:
                tag[i] = self.at(tag, i, item)
            i += 1
        return tag

    def date(self, tag):
        datetime = bring("datetime")
        value = tag[1]
        if value is not None:
            try:
                value = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(milliseconds=value)
            except OverflowError:
                self.refused = "Cannot take the date %s in Python: its years end at 9999" % value
        return self.keep(value)

    def regexp(self, tag):
        re = bring("re")
        flags = 0
        for letter in tag[2]:
            flags |= {"i": re.I, "m": re.M, "s": re.S}.get(letter, 0)
        try:
            value = re.compile(tag[1].replace("(?<", "(?P<").replace("(?P<=", "(?<=").replace("(?P<!", "(?<!"), flags)
        except re.error as error:
            value = None
            self.refused = "Cannot take the expression /%s/ in Python: %s" % (tag[1], error)
        return self.keep(value)

    def map(self, tag):
        made = self.keep({})
        for i in range(1, len(tag), 2):
            key = hashable(self.value(tag[i]))
            made[key] = self.at(made, key, tag[i + 1])
        return made

    def set(self, tag):
        made = self.keep(set())
        for item in tag[1:]:
            made.add(hashable(self.value(item)))
        return made

    def object(self, tag):
        # Names that are symbols have no counterpart.
        return self.value(tag[1])

    def error(self, tag):
        slot = len(self.objects)
        self.objects.append(None)
        properties = {name: self.value(tag[4][name]) for name in tag[4]}
        error = make_error(tag[1], tag[2], tag[3], properties)
        self.objects[slot] = error
        if tag[5]:
            cause = self.value(tag[5][0])
            if isinstance(cause, BaseException):
                error.__cause__ = cause
            else:
                error.cause = cause
        if tag[6]:
            error.errors = self.value(tag[6])
        return error

    def typed(self, tag):
        kind = tag[1]
        data = self.bytes(tag[2], tag[3])
        code = VIEWS.get(kind)
        if code:
            data = bring("array").array(code, data)
            if sys.byteorder == "big":
                data.byteswap()
        elif kind == "ArrayBuffer":
            data = bytearray(data)
        elif kind not in ("Uint8Array", "DataView", "Float16Array"):
            raise ProtocolError("an array of type %.99r" % kind)
        return self.keep(data)

    def reference(self, tag):
        number = tag[1]
        if number < 0:
            return known(exports, -number).value
        return import_reference(number, tag)

    def path(self, tag):
        target, path = tag[1], tag[2]
        if target == 0 or target < 0:
            base = ROOT if target == 0 else known(exports, -target).value
            return self.soon(path, base)
        answer = known(answers, target)
        if answer.state == DONE:
            return self.soon(path, answer.value)
        pending = Pending()
        self.wait(pending, answer, path)
        return pending

    def soon(self, path, value):
        """Reading a path may run code: that happens where the call does."""
        if not path:
            return value
        pending = Pending()
        self.waiting.append((pending, None, path, value))
        return pending

    def wait(self, pending, source, path=()):
        self.waiting.append((pending, source, path, None))


def hashable(value):
    try:
        return frozen(value)
    except RecursionError:
        raise Refused("Cannot take something that holds itself as a key or an item of a set in Python")


def frozen(value):
    kind = type(value)
    if kind is list:
        return tuple(frozen(item) for item in value)
    if kind is dict:
        return tuple((key, frozen(value[key])) for key in value)
    if kind is set:
        return frozenset(value)
    if kind is bytearray:
        return bytes(value)
    try:
        hash(value)
    except TypeError:
        raise Refused("Cannot take %s as a key or an item of a set in Python" % type(value).__name__)
    return value


def url(self, tag):
    return self.keep(tag[1])


DECODERS = {
    0: Incoming.list,
    "u": lambda self, tag: None,
    "n": lambda self, tag: float(tag[1]),
    "i": lambda self, tag: int(tag[1], 16),
    "d": Incoming.date,
    "x": Incoming.regexp,
    "l": url,
    "m": Incoming.map,
    "s": Incoming.set,
    "o": Incoming.object,
    "e": Incoming.error,
    "b": Incoming.typed,
    "t": lambda self, tag: self.bytes(tag[1], tag[2]).decode(),
    "y": lambda self, tag: "Symbol.for(%s)" % tag[1],
    "Y": lambda self, tag: "Symbol." + tag[1],
    "#": lambda self, tag: self.objects[tag[1]],
    "r": Incoming.reference,
    "p": Incoming.path,
    "k": lambda self, tag: Kwargs(self.value(tag[1])),
}

# ---- references


@calm
def introduce(value):
    global last_export
    with export_lock:
        entry = exported.get(id(value))
        if entry is None:
            last_export += 1
            entry = Export()
            entry.id = last_export
            entry.value = value
            entry.count = 0
            entry.release = None
            exports[last_export] = exported[id(value)] = entry
        entry.count += 1
    return entry


@calm
def give_back(number, count):
    with export_lock:
        entry = known(exports, number)
        if not 0 < count <= entry.count:
            raise ProtocolError("%d introductions of reference %d back, and had %d" % (
                count, number, entry.count))
        entry.count -= count
        if entry.count:
            return
        del exports[number], exported[id(entry.value)]
    drop(entry.value)
    if entry.release:
        entry.release()


class Export:
    """An object of this side that the peer holds."""
    __slots__ = ("id", "value", "count", "release")

# ---- access


def other_name(value, key):
    # Compiling the rest has put something there, perhaps.
    if key not in value:
        raise NameError("name %r is not defined" % key)
    return value[key]


def other_member(value, key, error):
    if type(value) is MODULE:
        name = "%s.%s" % (value.__name__, key)
        try:
            __import__(name)
            return sys.modules[name]
        except ImportError as missing:
            if getattr(missing, "name", None) not in (name, value.__name__):
                raise
    elif hasattr(type(value), "__getitem__"):
        try:
            return value[index_of(value, key)]
        except (LookupError, TypeError, ValueError):
            pass
    raise error


def index_of(value, key):
    if isinstance(value, (list, tuple, deque, str, bytes, bytearray)) or not hasattr(value, "keys"):
        try:
            return int(key)
        except ValueError:
            pass
    return key


# What the rest can do with a value.
WAYS = {}


def other_access(value, path, how, args):
    for key in path[:-1] if 3 <= how <= 5 else path:
        value = step(value, key)
    kind = type(value)
    items = isinstance(value, dict) or hasattr(kind, "__setitem__") and not hasattr(value, "__dict__")
    if how == 3:
        if kind is Scope and not path[-1].isidentifier():
            raise NameError("%r is no name of a variable" % path[-1])
        if items:
            value[index_of(value, path[-1])] = args[0]
        else:
            setattr(value, path[-1], args[0])
    elif how == 4:
        if items:
            del value[index_of(value, path[-1])]
        else:
            delattr(value, path[-1])
    elif how == 5:
        key = path[-1]
        if kind is Modules:
            return bring("importlib.util").find_spec(key) is not None
        return hasattr(value, key) and kind is not Scope or items and key in value
    elif how == 6:
        if kind is Modules:
            return sorted(sys.modules)
        if isinstance(value, dict):
            return [key for key in value if type(key) is str and not (kind is Scope and key[:2] == "__")]
        return list(value.__dict__) if hasattr(value, "__dict__") else dir(value)
    elif how == 8:
        if hasattr(kind, "__exit__"):
            value.__exit__(None, None, None)
        elif hasattr(kind, "__aexit__"):
            return value.__aexit__(None, None, None)
    elif how in WAYS:
        return WAYS[how](value)
    else:
        raise TypeError("There is no way %s of calling" % how)

# ---- calls


def when_filled(waiting, then, failed):
    """Goes on when the values that were not there yet are."""
    missing = [len(waiting) + 1]

    def one():
        with state_lock:
            missing[0] -= 1
            last = missing[0] == 0
        if last:
            for pending, source, path, value in waiting:
                if source and source.state == FAILED:
                    return failed(source.value)
            if any(path for pending, source, path, value in waiting):
                # Reading a path runs code.
                run_soon(read)
            else:
                read()

    def read():
        try:
            for pending, source, path, value in waiting:
                value = value if source is None else source.value
                for key in path:
                    value = step(value, key)
                for container, key in pending:
                    container[key] = value
        except BaseException as error:
            return failed(error)
        then()

    for pending, source, path, value in waiting:
        if source:
            when_over(source, one)
        else:
            one()
    one()


def decode_call(answer, message, attached):
    def run(held):
        incoming = Incoming(held, answer)
        try:
            args = incoming.top(message[5], message[6])
            if incoming.refused:
                raise Refused(incoming.refused)
        except Refused as error:
            return settle(answer, FAILED, TypeError(str(error)))
        if type(args) is not list:
            raise ProtocolError("malformed arguments")
        answer.args = args
        if incoming.waiting:
            # References that came home stay valid: the target is found now.
            when_filled(incoming.waiting, lambda: begin_later(answer), lambda error: settle(answer, FAILED, error))
        else:
            begin(answer)

    if len(message) > 8:
        arrive(message[8], attached, run)
    else:
        run(attached)


def begin_later(answer):
    begin(answer)
    run_soon()


def run_soon(*work):
    """Queues work, and finds a thread for what is in the queue."""
    queue.extend(work)
    if queue and (current() is not main or main.stack):
        rouse()


def send_value(op, number, value):
    outgoing = Outgoing()
    text, form = outgoing.encode(value)

    def parcel(_):
        placed, tagged = outgoing.place(text, form)
        return "[%d,%d,%s%s]" % (op, number, placed, outgoing.tail(tagged))
    post("", number, parcel)


def other_reply(answer):
    """Answers with what is not plain, or failed."""
    error = answer.value
    try:
        try:
            if answer.state == DONE:
                return send_value(4, answer.id, error)
        except Exception as uncrossable:
            error = uncrossable
        try:
            send_value(5, answer.id, trimmed(error))
        except Exception as worse:
            send_value(5, answer.id, RuntimeError("%s (its error could not be sent: %s)" % (type(error).__name__, worse)))
    except Lacking:
        when_whole(lambda: other_reply(answer))


def trimmed(error):
    """The frames of the agent tell a user nothing."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == "pushy:agent":
        trace = trace.tb_next
    return error.with_traceback(trace)


def on_cancel(message, attached):
    answer = answers.get(message[1])
    if answer is None or answer.state != PENDING:
        return
    answer.wanted = True
    with cancel_lock:
        # 2: it is to be raised where the call waits; 1: it has been raised.
        answer.cancelled = 2
        thread = answer.thread
        if thread:
            if thread.waiting:
                thread.wake()
            elif thread.stack[-1] is answer:
                answer.cancelled = 1
                raise_in(thread, Cancelled)
            return
    if answer.task:
        answer.task()
    elif not thread and answer not in queue:
        settle(answer, FAILED, Cancelled("The call was cancelled before it began"))


def raise_in(thread, error):
    # PyPy has no such function: there a call ends early only where it waits for this side.
    try:
        bring("ctypes").pythonapi.PyThreadState_SetAsyncExc(
            sys.modules["ctypes"].c_ulong(thread.ident), error and sys.modules["ctypes"].py_object(error))
    except (ImportError, AttributeError):
        pass


def clear_cancel(thread):
    raise_in(thread, None)


def on_pull(message, attached):
    answer = known(answers, message[1])
    with state_lock:
        if answer.wanted or answer.dropped:
            raise ProtocolError("the same pull twice")
        answer.wanted = True
        mine = answer.state != PENDING and not answer.sent
        if mine:
            answer.sent = True
    if mine:
        reply(answer)


def on_release(message, attached):
    undeferred(lambda: release(message[1]))


def release(counts):
    for i in range(0, len(counts), 2):
        number = counts[i]
        if number < 0:
            give_back(-number, counts[i + 1])
            continue
        answer = known(answers, number)
        with state_lock:
            if answer.wanted or answer.sent:
                continue
            answer.dropped = True
            mine = answer.state != PENDING
            if mine:
                answer.sent = True
        if mine:
            reply(answer)

# ---- outbox


def write_piece():
    job = bulks[0]
    channel, view, at, done = job
    piece = view[at:at + PIECE]
    head = pack(len(piece), channel & 0xFFFFFFFF, CHUNK)
    try:
        if hasattr(os, "writev"):
            sent = os.writev(WRITE, [head, piece]) - 12
            if sent < 0:
                write_all(head[12 + sent:])
                sent = 0
        else:
            write_all(head)
            sent = 0
    except OSError:
        finish(False)
    if sent < len(piece):
        write_all(piece[sent:])
    job[2] = at + len(piece)
    bulks.popleft()
    if job[2] < len(view):
        bulks.append(job)
    elif done:
        done()

# ---- session


@calm
def set_waiting(thread, waiting):
    with cancel_lock:
        thread.waiting = waiting


def flood():
    """More was printed than was taken: whoever prints waits, but not a destructor for its own thread."""
    if writer == _thread.get_ident():
        return
    thread = current()
    set_waiting(thread, thread.waiting + 1)
    try:
        if write_lock.acquire():
            write_lock.release()
        flush()
    finally:
        set_waiting(thread, thread.waiting - 1)


def arrive(numbers, attached, then):
    """Goes on when the blobs that a message announces have arrived."""
    global deferred
    channels = []
    missing = [1]

    def one():
        global deferred
        missing[0] -= 1
        if missing[0]:
            return
        then(attached)
        for channel in channels:
            blobs.pop(channel, None)
        deferred -= 1
        if not deferred:
            waiting = after_deferred[:]
            del after_deferred[:]
            for work in waiting:
                work()

    for i in range(0, len(numbers), 2):
        channel, size = new_channel(numbers[i]), numbers[i + 1]
        if size > LIMITS["valueBytes"]:
            exceeded("valueBytes", "bytes in a value")
        if sum(blob.size for blob in blobs.values()) + size > LIMITS["incomingBytes"] or size <= 0:
            exceeded("incomingBytes", "bytes at once")
        blob = Blob()
        blob.size = size
        blob.filled = 0
        # Its bytes become the value without another copy.
        blob.buffer = io.BytesIO(bytes(size))
        blob.view = blob.buffer.getbuffer()
        blob.arrived = one
        blobs[channel] = blob
        channels.append(channel)
        missing[0] += 1
        if size > 1 << 20:
            widen()
    deferred += 1
    one()


def widen():
    """Wider pipes: fewer turns from one process to the other."""
    global widened
    if not widened:
        widened = True
        try:
            for fd in (READ, WRITE):
                bring("fcntl").fcntl(fd, 1031, 1 << 20)
        except (ImportError, OSError):
            pass


widened = False


def fail(error):
    """The peer broke the rules: it is told, and the agent ends."""
    if not isinstance(error, ProtocolError):
        error = "what cannot be handled%s (%s: %s)" % ("" if whole else " before the rest", type(error).__name__, error)
    with out_lock:
        pending.append("[17,%s]" % quote(("The peer sent %s" % error)[:1000]))
        seal()
    if write_lock.acquire(True, 1):
        while sealed:
            write_all(sealed.popleft())
    finish(False)


def add_worker():
    global workers
    add_threading()
    try:
        _thread.start_new_thread(work, ())
        workers += 1
    except RuntimeError:
        # There may be no more of them: what waits is taken by the next that is free.
        pass


def work():
    """A thread of the pool."""
    global workers
    thread = Thread()
    while True:
        try:
            answer = queue.popleft()
        except IndexError:
            flush()
            idle.append(thread)
            if queue or not thread.lock.acquire(True, 10):
                try:
                    idle.remove(thread)
                except ValueError:
                    # Somebody has just given it something to do.
                    continue
                if not queue:
                    workers -= 1
                    return
            continue
        attempt(perform, answer, thread)
        # It is not kept while this thread waits.
        answer = None
        if pending_size > 32768 or not queue:
            flush()


def rouse(stuck=False):
    """Finds a thread for what is in the queue: the main one, if it is at no call."""
    if main_idle:
        main.wake()
        return
    if not (stuck or main.stack or main.working):
        # It looks into the queue before it waits again.
        return
    try:
        idle.pop().wake()
    except IndexError:
        add_worker()


def watch():
    """Does what nobody else has time for: reads while the main thread is at a call, and sends what has been left lying."""
    global asleep
    poll = select.poll()
    poll.register(print_read, 1)
    poll.register(wake_read, 1)
    probe = select.poll()
    probe.register(READ, 1)
    reading = False
    last = turn = -1
    calm = 0
    while True:
        for fd, event in poll.poll(None if asleep else TICK):
            if fd == wake_read:
                os.read(wake_read, 4096)
                calm = 0
            elif fd == print_read:
                drain()
                flush()
            elif turn == turns and baton.acquire(False):
                try:
                    if probe.poll(0):
                        receive()
                finally:
                    baton.release()
                if waiters:
                    pass_on()
                if queue:
                    rouse()
                flush()
            else:
                # Somebody else reads, or soon will: the main thread goes on from call to call.
                poll.unregister(READ)
                reading = False
        # Calls begin, or are read: a frame may have thousands.
        progress = started + last_answer
        stuck = progress == last
        last = progress
        turn = turns
        if stuck:
            calm += 1
            if not reading and not baton.locked():
                poll.register(READ, 1)
                reading = True
            if queue:
                for i in range(min(len(queue), max(1, workers))):
                    rouse(True)
            for pump in list(pumps):
                attempt(pump.send)
            flush()
            # It is woken by the next call, by output, and by what it reads.
            if calm > 20 and not queue and not pending and not pumps and (reading or baton.locked()):
                asleep = True
        else:
            calm = 0


# Is the rest there, and what waits for it.
whole = False
lacking = []


@calm
def when_whole(work):
    """Goes on when the rest of the agent has come; asks for it."""
    with state_lock:
        ready = whole
        if not ready:
            lacking.append(work)
            asks = len(lacking) == 1
    if ready:
        work()
    elif asks:
        post("[18]")


def on_rest(message, attached):
    global LATER
    if whole:
        raise ProtocolError("the rest twice")
    LATER = message[2]
    if message[1] == "d":
        LATER = bring("zlib").decompress(bring("binascii").a2b_base64(LATER), -15)
    load()
    with state_lock:
        waiting = lacking[:]
        del lacking[:]
    run_soon(*waiting)


def on_ping(message, attached):
    post("[15,%d]" % message[1])
    if current() is not main or main.stack:
        flush()

# ---- channels

last_channel = 0
last_peer_channel = 0
# Numbers that the peer left out so far.
skipped_channels = set()
inflows = {}
outflows = {}


def new_channel(number):
    global last_peer_channel
    if type(number) is not int or number > last_peer_channel + LIMITS["channels"]:
        raise ProtocolError("channel %s out of order" % number)
    if number > last_peer_channel:
        # A message that waits opens its channels later than the ones behind it do.
        skipped_channels.update(range(last_peer_channel + 1, number))
        last_peer_channel = number
        while len(skipped_channels) > LIMITS["channels"]:
            skipped_channels.discard(min(skipped_channels))
    elif number in skipped_channels:
        skipped_channels.discard(number)
    else:
        raise ProtocolError("channel %s out of order" % number)
    if len(inflows) + len(outflows) > LIMITS["channels"]:
        exceeded("channels", "streams at once")
    return number


def on_other(message, attached):
    handle = HANDLERS.get(message[0])
    if handle is None:
        raise ProtocolError("a message of type %s, which is none, or before the rest" % message[0])
    handle(message, attached)


HANDLERS = {
    **HANDLERS,
    3: on_pull,
    6: on_release,
    7: on_cancel,
    14: on_ping,
    19: on_rest,
}


read_into = io.FileIO(READ, closefd=False).readinto


def on_chunk(channel, data, at, length):
    blob = blobs.get(channel)
    have = min(length, len(data) - at)
    if blob is None:
        on_stream_chunk(-channel, data[at:at + have] + read_exactly(length - have))
        return at + have
    filled = blob.filled
    end = filled + length
    if end > blob.size:
        raise ProtocolError("more bytes on channel %d than announced" % channel)
    view = blob.view
    view[filled:filled + have] = memoryview(data)[at:at + have]
    filled += have
    while filled < end:
        count = read_into(view[filled:end])
        if count == 0:
            finish(False)
        filled += count
    blob.filled = filled
    if filled == blob.size:
        blob.arrived()
    return at + have


class Blob:
    """The bytes of a large value, as they arrive."""


def undeferred(then):
    """What gives things back waits for messages that wait for their blobs."""
    if deferred:
        after_deferred.append(then)
    else:
        then()

# ---- evaluate


def compiled(source, name, mode):
    """Source that is indented as a whole, as in a template string, is accepted."""
    try:
        return compile(source, name, mode, AWAIT, True)
    except IndentationError:
        straight = bring("textwrap").dedent(source).strip("\n")
        if straight == source:
            raise
        sources[name] = straight
        return compile(straight, name, mode, AWAIT, True)


def run_source(source, scope, name=None):
    """Runs statements. With a name it is for the value of the last one."""
    if name is None:
        code = compiled(source, named(source), "exec")
        pending_value = eval(code, scope)
        return finish_code(pending_value) if code.co_flags & 0x80 else None
    ast = bring("ast")
    if not AWAIT and "await" in source:
        try:
            made = {}
            exec(compile("async def value(): return (%s\n)" % source, name, "exec", 0, True), scope, made)
            return made["value"]()
        except SyntaxError:
            pass
    tree = compiled(source, name, "exec") and compile(
        sources[name], name, "exec", AWAIT | ast.PyCF_ONLY_AST, True)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    first = compile(tree, name, "exec", AWAIT, True)
    last = last and compile(ast.Expression(last.value), name, "eval", AWAIT, True)
    if not AWAIT or not (first.co_flags | (last.co_flags if last else 0)) & 0x80:
        eval(first, scope)
        return eval(last, scope) if last else None

    async def run():
        for code in (first, last):
            value = code and eval(code, scope)
            if code and code.co_flags & 0x80:
                value = await value
        return value
    return run()


async def finish_code(value):
    await value


def make_scope(initial=()):
    scope = Scope(initial)
    scope.setdefault("__name__", "__main__")
    return scope


def make_function(source, names=(), values=(), scope=None):
    """A function of its source: a def, a class, or an expression."""
    if scope is None:
        scope = make_scope(zip(names, values))
    name = named(source)
    ast = bring("ast")
    compiled(source, name, "exec")
    tree = compile(sources[name], name, "exec", ast.PyCF_ONLY_AST, True)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        value = run_source(sources[name], scope, name)
        if callable(value):
            return value
    elif hasattr(last, "name"):
        exec(compile(tree, name, "exec", 0, True), scope)
        return scope[last.name]
    raise TypeError("Cannot compile this to a function: it ends with neither a def, a class, nor a lambda")

# ---- output


def add_threading():
    """Makes sure that threading takes the main thread for the main one, whoever imports it first."""
    if "threading" not in sys.modules:
        threading = bring("threading")
        first = threading._main_thread
        threading._active.pop(first._ident, None)
        first._ident = main.ident
        threading._active[main.ident] = first


def output(descriptor, data):
    global attached_size

    def parcel(text):
        global attached_size
        text = "[13,%d,%d,%d]" % (descriptor, attached_size, len(piece))
        attached_parts.append(piece)
        attached_size += len(piece)
        return text
    for at in range(0, len(data), 32768):
        piece = data[at:at + 32768]
        post("", 0, parcel)
    if asleep:
        wake_watcher()
    if len(sealed) > 2:
        flood()

# ==== rest
from _weakref import ref

# ---- limits

LIMITS = {
    "references": 4000000,
    "streamWindow": 16 << 20,
    **LIMITS,
}

# ---- text

# Whole escape sequences, other control characters, and what turns the direction of the text.
TERMINAL = (
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\x1b[@-Z\\\\^_]"
    "|[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text):
    """The text without what a terminal would act on."""
    return text if text.isprintable() else bring("re").sub(TERMINAL, "", text)

# ---- values

KINDS = {
    "i1": "Int8Array",
    "u1": "Uint8Array",
    "i2": "Int16Array",
    "u2": "Uint16Array",
    "i4": "Int32Array",
    "u4": "Uint32Array",
    "i8": "BigInt64Array",
    "u8": "BigUint64Array",
    "f2": "Float16Array",
    "f4": "Float32Array",
    "f8": "Float64Array",
}


def kind_of(letter, size):
    group = "f" if letter in "efd" else "u" if letter in "BHILQNc?" else "i" if letter in "bhilqn" else ""
    return KINDS.get(group + str(size))


def encode_view(outgoing, value, depth):
    return outgoing.bytes(kind_of(value.format[-1:], value.itemsize) or "Uint8Array", value.tobytes())


def encode_array(outgoing, value, depth):
    if value.typecode in "uw":
        return outgoing.value(value.tounicode(), depth)
    return encode_view(outgoing, memoryview(value), depth)


def encode_numpy(outgoing, value, depth):
    kind = KINDS.get(value.dtype.str[1:]) or ("Uint8Array" if value.dtype.kind == "b" else None)
    if not kind:
        return outgoing.list(value.tolist(), depth) if value.dtype.kind in "U" else outgoing.refer(value)
    if value.ndim != 1:
        return outgoing.list([row for row in value], depth) if value.ndim else outgoing.value(value.item(), depth)
    outgoing.kept.append(value)
    return outgoing.bytes(kind, value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())


def encode_numpy_item(outgoing, value, depth):
    item = value.item()
    return outgoing.refer(value) if type(item) is type(value) else outgoing.value(item, depth)


def encode_date(outgoing, value, depth):
    outgoing.count += 1
    import calendar
    if not hasattr(value, "hour"):
        return '["d",%d]' % (calendar.timegm(value.timetuple()) * 1000)
    if value.tzinfo is None:
        return '["d",%d]' % round(value.timestamp() * 1000)
    return '["d",%d]' % (calendar.timegm(value.utctimetuple()) * 1000 + value.microsecond // 1000)


def other(outgoing, value, depth):
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        outgoing.begin(value)
        fields = [(name, getattr(value, name)) for name in kind.__dataclass_fields__ if hasattr(value, name)]
        outgoing.kept.append(fields)
        return outgoing.record(fields, depth)
    if hasattr(kind, "__next__"):
        # Python's own iterators. Others may have more to offer, and a proxy stands for something else.
        iterable = kind.__module__ in ("builtins", "itertools") and "proxy" not in kind.__name__
    else:
        iterable = hasattr(kind, "__anext__") and hasattr(kind, "asend")
    return encode_iterator(outgoing, value, depth) if iterable else outgoing.refer(value)


def encode_text(outgoing, value, depth):
    return quote(str(value))


NAMED = {
    "array.array": encode_array,
    "numpy.ndarray": encode_numpy,
    "numpy.generic": encode_numpy_item,
    "datetime.date": encode_date,
    "decimal.Decimal": encode_text,
    "pathlib.PurePath": encode_text,
    "enum.Enum": lambda outgoing, value, depth: outgoing.value(value.value, depth),
}


def named_encoder(base):
    return NAMED.get("%s.%s" % (base.__module__.split(".")[0], base.__name__))


class Iteration:
    """A value that is to cross as a live iterator."""

    def __init__(self, iterator):
        self.iterator = iterator


def live(outgoing, opener, text):
    outgoing.spots.append(opener)
    return text


def encode_iterator(outgoing, value, depth):
    started = type(value) is Iteration
    iterator = value.iterator if started else value
    return live(outgoing, lambda channel: Pump(channel, iterator, started), '["I",\x01,%d]' % started)


def encode_home(outgoing, value, depth):
    if info(value)["count"] <= 0:
        raise UncrossableError("Cannot send %r: it was released" % value)
    return '["r",%d]' % -info(value)["id"]


def decode_promise(incoming, tag):
    remote = import_reference(tag[1], (0, 0, 0, "promise"))
    question = ask(-tag[1], [], 0, [])

    def once_more(kept=remote):
        pending = Pending()
        incoming.wait(pending, question)
        return pending
    incoming.lives.append(once_more)
    return once_more()


def living(incoming, value):
    """Something live, which the value may name again."""
    incoming.lives.append(lambda: value)
    return value


def decode_signal(incoming, tag):
    made = living(incoming, import_reference(tag[1], None))
    if tag[2]:
        made.abort(incoming.value(tag[3]))
    if incoming.answer:
        incoming.answer.pins = (incoming.answer.pins or []) + [made]
    return made


DECODERS = {
    **DECODERS,
    "P": decode_promise,
    "S": decode_signal,
    "R": lambda incoming, tag: living(incoming, ReadableStream(-tag[1], tag[2])),
    "W": lambda incoming, tag: living(incoming, WritableStream(-tag[1])),
    "I": lambda incoming, tag: living(incoming, RemoteIterator(-tag[1], tag[2])),
    "=": lambda incoming, tag: incoming.lives[tag[1]](),
}

# ---- references

imports = {}


class Held:
    """What of the other side is given back when nobody has it any more."""

    def __exit__(self, *error):
        own = info(self)
        own["count"], count = 0, own["count"]
        if count:
            dropped.append((own["id"], count))

    def __del__(self):
        self.__exit__()


class Remote(Held):
    """An object of the other side. A call of it, or of a method, waits for the answer; in a coroutine it gives something to await."""

    def __init__(self, number, label):
        self.__dict__["_remote"] = {"id": number, "label": label, "count": 1, "methods": set()}

    def __call__(self, *args, **named):
        return invoke(self, [], 1, args, named)

    def __getattr__(self, name):
        methods = info(self)["methods"]
        if name.startswith("_") or name in ("then", "constructor"):
            raise AttributeError(name)
        if name not in methods:
            try:
                return invoke(self, [name], 0, (), {}, True)
            except RemoteError as error:
                if error.type != "AccessError":
                    raise
            methods.add(name)
        return lambda *args, **named: invoke(self, [name], 1, args, named)

    def __setattr__(self, name, value):
        invoke(self, [name], 3, (value,), {}, True)

    def __delattr__(self, name):
        invoke(self, [name], 4, (), {}, True)

    def __getitem__(self, key):
        return invoke(self, [str(key)], 0, (), {}, True)

    def __setitem__(self, key, value):
        invoke(self, [str(key)], 3, (value,), {}, True)

    def __contains__(self, key):
        return invoke(self, [str(key)], 5, (), {}, True)

    def __iter__(self):
        return invoke(self, [], 7, (), {}, True)

    def __aiter__(self):
        return self.__iter__()

    def __enter__(self):
        return self

    def __repr__(self):
        return info(self)["label"]


class Signal(Held):
    """A signal of the other side: `aborted`, `reason`, and `wait(timeout)`, which says whether it was aborted."""

    def __init__(self, number, label):
        self._remote = {"id": number, "label": "[remote AbortSignal]", "count": 1}
        self.aborted = False
        self.reason = None
        self._waiting = set()

    def abort(self, reason):
        self.aborted = True
        self.reason = reason
        for thread in list(self._waiting):
            thread.wake()

    def wait(self, timeout=None):
        thread = current()
        self._waiting.add(thread)
        try:
            block(thread, lambda: self.aborted, timeout)
        finally:
            self._waiting.discard(thread)
        return self.aborted


def info(remote):
    return remote.__dict__["_remote"]


def import_reference(number, tag):
    found = imports.get(number)
    found = found and found()
    if found is not None and info(found)["count"] > 0:
        info(found)["count"] += 1
        return found
    if len(imports) > LIMITS["references"]:
        for known in list(imports):
            if imports[known]() is None:
                del imports[known]
        if len(imports) > LIMITS["references"]:
            exceeded("references", "references")
    made = Signal(number, "") if tag is None else Remote(number, remote_label(tag))
    imports[number] = ref(made, lambda gone: imports.pop(number, None) if imports.get(number) is gone else None)
    return made


def remote_label(tag):
    name = printable(str(tag[3]) if len(tag) > 3 else "")[:160]
    return "[remote %s]" % " ".join(
        part for part in (("object", "function", "class", "symbol", "")[tag[2] if len(tag) > 2 else 0], name) if part)

# ---- access


def iterated(value):
    return Iteration(value.__aiter__() if hasattr(type(value), "__aiter__") else iter(value))


def fields_of(value):
    kind = type(value)
    if isinstance(value, dict):
        return {key: value[key] for key in value if not (kind is Scope and key[:2] == "__")}
    if hasattr(value, "_asdict"):
        return dict(value._asdict())
    if hasattr(value, "n_fields"):
        return {name: getattr(value, name) for name in dir(value)
                if name[0] != "_" and not callable(getattr(value, name)) and name[:2] != "n_"}
    if hasattr(value, "__dict__") or hasattr(kind, "__slots__"):
        names = list(getattr(value, "__dict__", ())) + [
            name for base in kind.__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name)]
        return {name: getattr(value, name) for name in names if name[:2] != "__"}
    return list(value) if hasattr(kind, "__iter__") else value


WAYS = {7: iterated, 9: fields_of}

# ---- calls


class Question:
    """A call of this side."""
    state = PENDING
    waiting = thread = None


def ask(target, path, how, args):
    """Sends a call."""
    outgoing = Outgoing()
    text, form = outgoing.encode(list(args))
    question = Question()
    stack = current().stack
    parent = stack[-1].id if stack else 0

    def parcel(_):
        global last_question
        last_question += 1
        question.id = last_question
        questions[last_question] = question
        placed, tagged = outgoing.place(text, form)
        blobs_text = ",[%s]" % ",".join(map(str, outgoing.blobs)) if outgoing.blobs else ""
        return "[2,%d,%d,%s,%d,%s,%d,%d%s]" % (
            last_question, target, "[%s]" % quote(path[0]) if path else "[]", how, placed, tagged, parent, blobs_text)
    post("", 0, parcel)
    return question


def invoke(remote, path, how, args, named, wait=False):
    """Calls the other side, and waits for the answer."""
    own = info(remote)
    if own["count"] <= 0:
        raise ReferenceError("Cannot use a reference that was released")
    if named:
        args = tuple(args) + (named,)
    question = ask(-own["id"], path, how, args)
    loop = None if wait else running_loop()
    if loop:
        flush()
        future = loop.create_future()

        def deliver():
            if not future.done():
                (future.set_exception if question.state == FAILED else future.set_result)(question.value)
        when_over(question, lambda: loop.call_soon_threadsafe(deliver))
        return future
    thread = current()
    question.thread = thread
    try:
        block(thread, lambda: question.state)
    except Cancelled:
        if not question.state:
            post("[7,%d]" % question.id)
        raise
    finally:
        question.thread = None
    if question.state == FAILED:
        raise question.value
    return question.value


def running_loop():
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio and asyncio._get_running_loop()
    except AttributeError:
        return None


unprocessed = []
last_question = 0


def on_answer(message, attached):
    global processed
    op, number, value = message[:3]
    form = message[3] if len(message) > 3 else 0
    question = questions.get(number)
    if question is None:
        raise ProtocolError("an answer to call %s, which is not waiting" % number)
    if len(message) > 4:
        place = [False]
        unprocessed.append(place)

        def later_on(held):
            global processed
            place[0] = True
            while unprocessed and unprocessed[0][0]:
                del unprocessed[0]
                processed += 1
            finish_question(question, op, value, form, held)
        del questions[number]
        arrive(message[4], attached, later_on)
        return
    del questions[number]
    if unprocessed:
        unprocessed.append([True])
    else:
        processed += 1
    finish_question(question, op, value, form, attached)


def finish_question(question, op, value, form, attached):
    def done(failed, result):
        with state_lock:
            question.value = result
            question.state = FAILED if failed else DONE
            waiting = question.waiting
        for then in waiting or ():
            then()
        if question.thread:
            question.thread.wake()

    if form == 1:
        incoming = Incoming(attached)
        try:
            value = incoming.top(value, form)
            if incoming.refused:
                raise Refused(incoming.refused)
        except Refused as error:
            return done(True, TypeError(str(error)))
        if incoming.waiting:
            holder = incoming.holder
            return when_filled(
                incoming.waiting, lambda: done(op == 5, as_error(holder[0]) if op == 5 else holder[0]),
                lambda error: done(True, error))
    done(op == 5, as_error(value) if op == 5 else value)


def as_error(value):
    return value if isinstance(value, BaseException) else RemoteError(value)

# ---- outbox


@calm
def add_bulk(channel, data, done):
    """Queues bytes for a channel."""
    with out_lock:
        new_bulks.append([channel, memoryview(data), 0, done])

# ---- session


def block(thread, ready, timeout=None):
    """Waits until something has arrived. Meanwhile it runs calls that descend from its own, and reads if nobody else does."""
    until = timeout is not None and bring("time").monotonic() + timeout
    set_waiting(thread, thread.waiting + 1)
    waiters.append(thread)
    try:
        while not ready():
            raise_if_cancelled(thread)
            if thread.inbox:
                waiters.remove(thread)
                before, thread.waiting = thread.waiting, 0
                try:
                    perform(thread.inbox.popleft(), thread)
                finally:
                    set_waiting(thread, before)
                    waiters.append(thread)
                continue
            flush()
            if timeout is not None:
                rest = until - sys.modules["time"].monotonic()
                if rest <= 0:
                    return
                wake_watcher()
                thread.lock.acquire(True, min(rest, 1))
            elif baton.acquire(False):
                try:
                    if not ready() and not thread.inbox:
                        receive()
                finally:
                    baton.release()
                if queue:
                    rouse()
            else:
                thread.lock.acquire()
    finally:
        waiters.remove(thread)
        set_waiting(thread, thread.waiting - 1)
        if waiters and not baton.locked():
            pass_on()
        if asleep:
            wake_watcher()
    raise_if_cancelled(thread)


def raise_if_cancelled(thread):
    if thread.stack and thread.stack[-1].cancelled == 2:
        thread.stack[-1].cancelled = 1
        raise Cancelled("The call was cancelled")

# ---- channels

# What is never waited for.
READY = tuple(type(iter(i)) for i in ((), [], {}, {}.keys(), {}.values(), {}.items(), set(), "", "\xe9", b"", range(0)))
STREAM_CREDIT = 256 << 10
ITERATOR_CREDIT = 4 << 10
channel_order = {}


def reason_text(value):
    outgoing = Outgoing(True)
    try:
        text, form = outgoing.encode(value)
    except Exception as error:
        text, form = quote(str(error)), 0
    return outgoing, text, form


def post_reason(start, value):
    if value is None:
        post("[%s]" % start)
        return
    outgoing, text, form = reason_text(value)
    post("", 0, lambda _: "[%s,%s,%d]" % ((start,) + outgoing.place(text, form)))


class Inflow:
    """The reading end of a channel: a queue that gives credit as it is emptied."""

    def __init__(self, channel, window, most, started):
        if channel < 0:
            new_channel(-channel)
        self.id = channel
        self.window = window
        self.most = most
        self.open = window if started else 0
        self.used = 0 if started else window
        self.queue = deque()
        self.end = None
        self.stopped = False
        self.thread = None
        self.lock = _thread.allocate_lock()
        inflows[channel] = self

    def push(self, arrival, cost):
        if self.end:
            raise ProtocolError("more on channel %d after its end" % self.id)
        with self.lock:
            if cost > 0 and self.open <= 0:
                raise ProtocolError("more on channel %d than it had credit for" % self.id)
            self.open -= cost
        if arrival[0] == "end":
            self.end = arrival
            if self.stopped:
                inflows.pop(self.id, None)
        if not self.stopped:
            self.queue.append((arrival, cost))
        thread = self.thread
        if thread:
            thread.wake()

    def take(self):
        """What comes next; it waits for it."""
        if not self.queue:
            thread = self.thread = current()
            self.grant(True)
            block(thread, lambda: self.queue or self.stopped)
            self.thread = None
            if not self.queue:
                return ("end", False, None)
        arrival, cost = self.queue.popleft()
        with self.lock:
            self.used += cost
        if arrival[0] == "end":
            self.stop(False)
        else:
            self.grant(False)
        return arrival

    def grant(self, hungry):
        with self.lock:
            if self.end or self.stopped:
                return
            if self.used < self.window / 4 and not (hungry and self.open <= 0 < self.used):
                return
            amount = self.used
            self.used = 0
            if not self.queue and self.window < self.most:
                more = min(self.window, self.most - self.window)
                self.window += more
                amount += more
            self.open += amount
        post("[8,%d,%d]" % (self.id, amount))
        if self.queue:
            flush()

    def stop(self, early, reason=None):
        with self.lock:
            if self.stopped:
                return
            self.stopped = True
        self.queue.clear()
        post_reason("11,%d,%d" % (self.id, early), reason)
        if self.end:
            inflows.pop(self.id, None)
        if self.thread:
            self.thread.wake()


def inflow_of(channel):
    inflow = inflows.get(channel)
    if inflow is None:
        raise ProtocolError("something on channel %s, which is not open" % channel)
    return inflow


def on_stream_chunk(channel, data):
    in_order(channel, None, data, lambda held: inflow_of(channel).push(("bytes", held), len(held)))


order_lock = _thread.allocate_lock()


class Order:
    """What waits on a channel: `[ready, then, attached]` each."""
    __slots__ = ("jobs", "lock")


def add_job(channel, job, first=False):
    with order_lock:
        order = channel_order.get(channel)
        if order is None:
            order = channel_order[channel] = Order()
            order.jobs = deque()
            order.lock = _thread.allocate_lock()
        (order.jobs.appendleft if first else order.jobs.append)(job)
    return order


def run_jobs(channel, order):
    jobs = order.jobs
    while jobs and jobs[0][0] and order.lock.acquire(False):
        try:
            while jobs and jobs[0][0]:
                job = jobs.popleft()
                job[1](job[2])
        finally:
            order.lock.release()
    with order_lock:
        if not jobs and channel_order.get(channel) is order:
            del channel_order[channel]


def in_order(channel, numbers, attached, then):
    """What comes on a channel stays in order, though some of it waits for its blobs."""
    if not numbers and channel not in channel_order:
        then(attached)
        return
    job = [not numbers, then, attached]
    order = add_job(channel, job)

    def go(held):
        job[2] = held
        job[0] = True
        run_jobs(channel, order)

    if numbers:
        arrive(numbers, attached, go)
    else:
        go(attached)


def in_place(channel):
    """What comes next on a channel waits for this: a function that takes what is done then."""
    job = [False, None, None]
    order = add_job(channel, job, True)

    def go(then):
        job[1] = lambda held: then()
        job[0] = True
        run_jobs(channel, order)
    return go


def on_items(message, attached):
    channel = -message[1]
    cost = message[2]
    form = message[4] if len(message) > 4 else 0
    numbers = message[5] if len(message) > 5 else None

    def then(held):
        def push(kind, value):
            inflow_of(channel).push((kind, value), cost)
        incoming = Incoming(held)
        try:
            items = incoming.top(message[3], form)
        except Refused as error:
            push("failed", TypeError(str(error)))
            return
        if incoming.waiting:
            place = in_place(channel)
            when_filled(incoming.waiting, lambda: place(lambda: push("items", items)),
                        lambda error: place(lambda: push("failed", error)))
        else:
            push("items", items)
    in_order(channel, numbers, attached, then)


def on_end(message, attached):
    channel = -message[1]
    failed = message[2] == 1

    def then(held):
        value = None
        if len(message) > 3:
            value = Incoming(held).top(message[3], message[4] if len(message) > 4 else 0)
        inflow_of(channel).push(("end", failed, value), 0)
    in_order(channel, None, attached, then)


def on_stop(message, attached):
    outflow = outflows.get(-message[1])
    if outflow is None:
        raise ProtocolError("a stop of channel %s, which is none" % message[1])
    reason = None
    if len(message) > 3:
        reason = Incoming(attached).top(message[3], message[4] if len(message) > 4 else 0)
    outflow.stop(message[2] == 1, reason)


def on_credit(message, attached):
    channel = -message[1]
    outflow = outflows.get(channel)
    if outflow:
        outflow.grant(message[2])
    elif abs(channel) > (last_channel if channel > 0 else last_peer_channel):
        raise ProtocolError("credit for channel %s, which was never open" % channel)


def on_abort(message, attached):
    reason = Incoming(attached).top(message[2], message[3] if len(message) > 3 else 0)

    def abort():
        found = imports.get(message[1])
        signal = found and found()
        if type(signal) is Signal:
            signal.abort(reason)
    # The signal may be in a message that waits for its blobs.
    undeferred(abort)


HANDLERS = {
    **HANDLERS,
    4: on_answer,
    5: on_answer,
    8: on_credit,
    9: on_items,
    10: on_end,
    11: on_stop,
    12: on_abort,
}


class Outflow:
    """The sending end of a channel."""

    def __init__(self, channel, credit):
        if channel < 0:
            new_channel(-channel)
        self.id = channel
        self.credit = credit
        self.ended = self.stopped = self.early = False
        self.reason = None
        self.thread = None
        self.lock = _thread.allocate_lock()
        outflows[channel] = self

    def spend(self, amount):
        with self.lock:
            self.credit -= amount

    def grant(self, amount):
        self.spend(-amount)
        self.changed()

    def changed(self):
        if self.thread:
            self.thread.wake()

    def end(self, failed, value=None):
        with self.lock:
            if self.ended:
                return
            self.ended = True
        post_reason("10,%d,%d" % (self.id, failed), value)
        if self.stopped:
            outflows.pop(self.id, None)

    def stop(self, early, reason):
        if self.stopped:
            raise ProtocolError("a stop of channel %d twice" % self.id)
        self.early = early
        self.reason = reason
        self.stopped = True
        if self.ended:
            outflows.pop(self.id, None)
        self.changed()

    def wait(self, ready):
        self.thread = current()
        block(self.thread, ready)
        self.thread = None

    def send_bytes(self, data):
        view = memoryview(data)
        while len(view):
            self.wait(lambda: self.credit > 0 or self.stopped)
            if self.stopped:
                raise as_error(self.reason) if self.reason is not None else BrokenPipeError("The stream was closed")
            piece = bytes(view[:max(1, min(self.credit, PIECE))])
            view = view[len(piece):]
            self.spend(len(piece))
            taken = []
            thread = current()

            def done():
                taken.append(1)
                thread.wake()
            add_bulk(self.id, piece, done)
            block(thread, lambda: taken)

# ---- live


class ReadableStream(io.RawIOBase):
    """A stream of the other side. One that gives no bytes is iterated over."""

    def __init__(self, channel, gives_bytes):
        self.inflow = Inflow(channel, STREAM_CREDIT, max(STREAM_CREDIT, LIMITS["streamWindow"]), True)
        self.gives_bytes = gives_bytes
        self.rest = b""
        self.items = deque()
        self.over = False

    def readable(self):
        return True

    def fetch(self):
        """The next chunk; None at the end."""
        if self.items:
            return self.items.popleft()
        while not self.over:
            arrival = self.inflow.take()
            if arrival[0] == "bytes":
                return arrival[1]
            if arrival[0] == "items":
                self.items.extend(arrival[1])
                if self.items:
                    return self.items.popleft()
            elif arrival[0] == "failed":
                raise arrival[1]
            else:
                self.over = True
                if arrival[1]:
                    raise as_error(arrival[2])
        return None

    def readinto(self, buffer):
        while not self.rest:
            chunk = self.fetch()
            if chunk is None:
                return 0
            self.rest = memoryview(chunk.encode() if type(chunk) is str else chunk).cast("B")
        size = min(len(buffer), len(self.rest))
        buffer[:size] = self.rest[:size]
        self.rest = self.rest[size:]
        return size

    def __next__(self):
        if self.gives_bytes:
            return io.RawIOBase.__next__(self)
        chunk = self.fetch()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self):
        if not self.closed:
            self.inflow.stop(not self.over)
        io.RawIOBase.close(self)

    def __del__(self):
        # A lock may be held by the thread that this runs in.
        inflow = self.inflow
        if not inflow.stopped:
            queue.append(lambda: inflow.stop(True, "it was dropped"))


class WritableStream(io.RawIOBase):
    """A stream of the other side to write to. It is at its end when it is closed."""

    def __init__(self, channel):
        self.outflow = Outflow(channel, STREAM_CREDIT)

    def writable(self):
        return True

    def write(self, data):
        view = memoryview(data).cast("B")
        self.outflow.send_bytes(view)
        return len(view)

    def close(self):
        if not self.closed:
            io.RawIOBase.close(self)
            flow = self.outflow
            flow.end(False)
            flow.wait(lambda: flow.stopped)
            if flow.early:
                raise as_error(flow.reason)

    def __del__(self):
        flow = self.outflow
        if not flow.ended:
            queue.append(lambda: flow.end(False))


class RemoteIterator:
    """An iterator of the other side; in a coroutine it can be iterated over with `async for`."""

    def __init__(self, channel, started):
        most = min(1 << 20, LIMITS["streamWindow"])
        self.inflow = Inflow(channel, ITERATOR_CREDIT, most, started == 1)
        self.items = deque()
        self.over = False

    def __iter__(self):
        return self

    def __next__(self):
        while not self.items:
            if self.over:
                raise StopIteration
            arrival = self.inflow.take()
            if arrival[0] == "items":
                self.items.extend(arrival[1])
            elif arrival[0] == "bytes":
                return arrival[1]
            elif arrival[0] == "failed":
                raise arrival[1]
            else:
                self.over = True
                if arrival[1]:
                    raise as_error(arrival[2])
        return self.items.popleft()

    def __aiter__(self):
        return self

    def __anext__(self):
        def step():
            try:
                return True, next(self)
            except StopIteration:
                return False, None

        async def fetch():
            more, item = await running_loop().run_in_executor(None, step)
            if not more:
                raise StopAsyncIteration
            return item
        return fetch()

    def close(self):
        self.over = True
        self.items.clear()
        self.inflow.stop(True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __del__(self):
        # A lock may be held by the thread that this runs in.
        inflow = self.inflow
        if not inflow.stopped:
            queue.append(lambda: inflow.stop(True, "it was dropped"))


class Pump(Outflow):
    """
    Sends what an iterator gives: the first item at once, later ones in batches that grow, but never later than the
    iterator makes the consumer wait: what lies here for a moment is sent by the watcher.
    """

    def __init__(self, channel, iterator, started):
        Outflow.__init__(self, channel, ITERATOR_CREDIT if started else 0)
        self.iterator = iterator
        self.batch = deque()
        self.send_lock = _thread.allocate_lock()
        self.most = 1
        self.active = False
        self.finished = False
        self.held = False
        self.last = None
        self.asynchronous = hasattr(iterator, "__anext__")
        self.wakeup = None
        self.changed()

    def changed(self):
        """There is credit, or the reader has stopped: goes on wherever there is time."""
        with self.lock:
            if self.active or self.finished or not (self.stopped or self.credit > 0):
                if self.asynchronous and self.wakeup:
                    loop_call(self.wakeup)
                return
            self.active = True
        if self.asynchronous:
            on_loop(self.run_async())
        else:
            run_soon(self.run)

    def send(self):
        """Sends what has been gathered, unless what lay here for a moment has used up the credit meanwhile."""
        with self.send_lock:
            self.held = self.credit <= 0 or self.stopped
            if self.held:
                return
            items = []
            while self.batch:
                items.append(self.batch.popleft())
            if not items or self.ended:
                return
            outgoing = Outgoing()
            text, form = outgoing.encode(items)
            size = [0]

            def parcel(_):
                placed, tagged = outgoing.place(text, form)
                size[0] = len(placed) + sum(outgoing.blobs[1::2])
                tail = ",[%s]" % ",".join(map(str, outgoing.blobs)) if outgoing.blobs else ""
                return "[9,%d,%d,%s,%d%s]" % (self.id, size[0], placed, tagged, tail)
            post("", 0, parcel)
            size = size[0]
            self.spend(size)
            self.most = max(1, len(items) * 32768 // size) if size > 32768 else min(2 * self.most, 8192)

    def run(self):
        """One turn of it, on whatever thread has time."""
        fetch = self.iterator.__next__
        ready = type(self.iterator) in READY
        islice = bring("itertools").islice
        append = self.batch.append
        sent = 0
        pumps.add(self)
        try:
            if self.batch:
                self.send()
            if self.last:
                self.close(*self.last)
            while not self.last and self.credit > 0 and not self.stopped and sent < 64:
                if ready:
                    most = self.most
                    items = list(islice(self.iterator, most))
                    self.batch.extend(items)
                    if len(items) < most:
                        raise StopIteration
                else:
                    for i in range(self.most):
                        append(fetch())
                        if self.stopped:
                            break
                self.send()
                flush()
                sent += 1
        except StopIteration as stop:
            self.close(False, stop.value)
        except BaseException as error:
            self.close(True, error)
        finally:
            pumps.discard(self)
        if not self.finished and self.stopped:
            self.close(False, None)
        with self.lock:
            self.active = False
        self.changed()

    def close(self, failed, value):
        if self.finished:
            return
        try:
            if self.stopped and hasattr(self.iterator, "close") and type(self.iterator).__name__ == "generator":
                self.iterator.close()
            self.send()
        except BaseException as error:
            failed, value = True, error
        if self.batch and not self.stopped:
            # The last items wait for credit, and the end for them.
            self.last = (failed, value)
            return
        self.finished = True
        self.end(failed, value)
        flush()

    async def run_async(self):
        iterator = self.iterator
        try:
            while not self.stopped:
                if self.credit <= 0:
                    await self.credited()
                    continue
                if self.held:
                    self.send()
                    flush()
                    continue
                self.batch.append(await iterator.__anext__())
                if len(self.batch) >= self.most:
                    self.send()
                    flush()
                    await sys.modules["asyncio"].sleep(0)
                elif len(self.batch) == 1:
                    running_loop().call_soon(self.send_soon)
            if hasattr(iterator, "aclose"):
                await iterator.aclose()
            self.close(False, None)
        except StopAsyncIteration:
            self.close(False, None)
        except BaseException as error:
            self.close(True, error)
        while not self.finished:
            await self.credited()
            self.close(*self.last)

    async def credited(self):
        """Waits until there is credit, or the reader has stopped."""
        event = sys.modules["asyncio"].Event()
        self.wakeup = event.set
        if self.credit <= 0 and not self.stopped:
            await event.wait()
        self.wakeup = None

    def send_soon(self):
        attempt(self.send)
        flush()

# ---- files

# What each takes and gives is said in runtime/js/files.ts. Paths are bytes here: names are UTF-8, whatever the locale says.
INLINE = 64 << 10
KINDS_OF_FILES = {0x8000: "file", 0x4000: "folder", 0xA000: "link"}
parts = set()
# Held while something new gets its name: what is there is known, and nothing comes after the end.
parts_lock = _thread.allocate_lock()


def abandon():
    if parts and parts_lock.acquire(True, 5):
        for path in parts:
            attempt(wipe, path)
        parts.clear()


def wipe(path):
    try:
        if os.lstat(path).st_mode & 0xF000 == 0x4000:
            bring("shutil").rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def coded(code, message):
    error = OSError(message)
    error.code = code
    return error


def decoded(name, path):
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise coded("EILSEQ", 'the name "%s" in %s is not UTF-8' % (
            name.decode("ascii", "backslashreplace"), path.decode("utf-8", "replace")))


def described(stats):
    return {"size": stats.st_size, "mode": stats.st_mode & 0xFFF, "mtime": stats.st_mtime_ns / 1e6}


def entry_of(path, stats):
    entry = described(stats)
    entry["type"] = KINDS_OF_FILES.get(stats.st_mode & 0xF000, "other")
    if entry["type"] == "link":
        entry["target"] = decoded(os.readlink(path), path)
    return entry


class Source(io.FileIO):
    """A file that is read, and must not change meanwhile. It crosses as a byte stream."""

    def begin(self):
        self.before = os.fstat(self.fileno())
        return self

    def check(self):
        now = os.fstat(self.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.before.st_size, self.before.st_mtime_ns):
            raise coded("ECHANGED", "changed while it was read")


class FilePump(Pump):
    """Sends a file, a piece at a time."""

    def __init__(self, channel, file):
        Pump.__init__(self, channel, file, False)
        self.grant(STREAM_CREDIT)

    def run(self):
        file = self.iterator
        try:
            piece = b"" if self.stopped else file.read(min(self.credit, PIECE))
            if piece:
                self.spend(len(piece))
                add_bulk(self.id, piece, self.written)
                flush()
                return
            if not self.stopped:
                file.check()
            self.close(False, None)
        except BaseException as error:
            self.close(True, error)
        file.close()

    def written(self):
        self.active = False
        self.changed()


class Files:
    """What a copy does on this side."""

    def stat(self, path, follow):
        path = path.encode()
        try:
            entry = entry_of(path, (os.stat if follow else os.lstat)(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        entry["path"] = decoded(os.path.realpath(path), path) if follow else path.decode()
        return entry

    def walk(self, path):
        path = path.encode()
        inside = [("", path, iter(os.listdir(path)))]
        while inside:
            prefix, folder, names = inside[-1]
            for name in names:
                whole = folder + b"/" + name
                name = prefix + decoded(name, folder)
                entry = entry_of(whole, os.lstat(whole))
                yield [name, entry]
                if entry["type"] == "folder":
                    inside.append((name + "/", whole, iter(os.listdir(whole))))
                    break
            else:
                inside.pop()

    def read(self, path, start):
        # A pipe that has taken the file's place is not waited for.
        file = Source(path.encode(), opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)).begin()
        if file.before.st_mode & 0xF000 != 0x8000:
            raise coded("ESPECIAL", "is no file")
        result = described(file.before)
        file.seek(start)
        most = max(0, min(result["size"] - start, INLINE))
        data = b""
        if result["size"] - start <= INLINE:
            for piece in iter(lambda: file.read(most + 1 - len(data)), b""):
                data += piece
            if len(data) <= most:
                file.check()
                file.close()
                return dict(result, bytes=data)
            file.seek(start)
        return dict(result, bytes=file)

    def write(self, part, start, mode, keep, data):
        path = part.encode()
        stream = type(data) is not bytes
        total = 0
        try:
            flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            if not start:
                flags |= os.O_CREAT | (os.O_TRUNC if keep else os.O_EXCL)
            with parts_lock:
                file = os.open(path, flags, mode)
                if not (start or keep):
                    parts.add(path)
            try:
                if start:
                    os.ftruncate(file, start)
                    os.lseek(file, start, 0)
                for chunk in iter(data.fetch, None) if stream else [data]:
                    view = memoryview(chunk)
                    while view:
                        size = os.write(file, view)
                        view = view[size:]
                        total += size
            except BaseException:
                if not keep:
                    self.remove(part)
                raise
            finally:
                os.close(file)
        finally:
            if stream:
                data.close()
        return total

    def commit(self, part, path, mode, mtime, *after):
        source = part.encode()
        with parts_lock:
            if mode is not None:
                os.chmod(source, mode)
            if mtime is not None:
                os.utime(source, ns=(int(mtime * 1e6),) * 2)
            if part != path:
                os.rename(source, path.encode())
            parts.discard(source)

    def hash(self, path):
        digest = bring("hashlib").sha256()
        with io.FileIO(path.encode()) as file:
            for data in iter(lambda: file.read(PIECE), b""):
                digest.update(data)
        return digest.hexdigest()

    def folder(self, path, mode, part):
        path = path.encode()
        with parts_lock:
            try:
                os.mkdir(path, mode)
            except FileExistsError:
                if os.lstat(path).st_mode & 0xF000 == 0x4000:
                    return False
                raise coded("ENOTDIR", "is there, and is no folder")
            if part:
                parts.add(path)
        return True

    def link(self, target, part):
        path = part.encode()
        with parts_lock:
            os.symlink(target.encode(), path)
            parts.add(path)

    def remove(self, path):
        path = path.encode()
        with parts_lock:
            wipe(path)
            parts.discard(path)


# ---- evaluate

loop = None
loop_lock = _thread.allocate_lock()


def the_loop():
    """The event loop that all coroutines share, in a thread of its own."""
    global loop
    with loop_lock:
        if loop is None:
            add_threading()
            asyncio = bring("asyncio")
            loop = asyncio.new_event_loop()

            def run():
                Thread()
                asyncio.set_event_loop(loop)
                loop.run_forever()
            _thread.start_new_thread(run, ())
    return loop


def loop_call(work):
    the_loop().call_soon_threadsafe(work)


def on_loop(coroutine, done=None):
    """Runs a coroutine; `done` gets the task when it is over."""
    def begin():
        task = loop.create_task(coroutine)
        if done:
            done(task)
    loop_call(begin)


def start_async(answer, value):
    async def wait():
        return await value

    def begun(task):
        answer.task = lambda: loop.call_soon_threadsafe(task.cancel)
        if answer.cancelled:
            task.cancel()
        task.add_done_callback(ended_async)

    def ended_async(task):
        if task.cancelled():
            settle(answer, FAILED, Cancelled("The call was cancelled"))
        elif task.exception() is not None:
            settle(answer, FAILED, task.exception())
        else:
            settle(answer, DONE, task.result())
        drain()
        flush()
    on_loop(wait(), begun)

# ---- agent

ENCODERS = {
    **ENCODERS,
    memoryview: encode_view,
    Iteration: encode_iterator,
    Remote: encode_home,
    Signal: encode_home,
    Source: lambda outgoing, value, depth: live(outgoing, lambda channel: FilePump(channel, value), '["R",\x01,1]'),
}
ROOT["files"] = Files()
whole = True
