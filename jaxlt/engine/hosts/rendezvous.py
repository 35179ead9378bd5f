"""All processes of a run meet on one TCP port before JAX starts, so that the missing are named.

Process 0 listens; the others connect, send a line that says who they are, and wait for "go" or for
the reason why not. No process can hang: each has the same time-out. The connections stay open, for
`jaxlt.engine.hosts.lifeline`.
"""

import contextlib
import errno
import json
import selectors
import socket
import time

from jaxlt.errors import HostGone, UserError

_MAGIC = "jaxlt-meet"
_LINE = 4096  # bytes; longer lines are no greeting of ours


def meet(address: str, processes: int, process: int, timeout_s: float) -> dict[int, socket.socket]:
    """Returns when all `processes` are there; otherwise raises UserError on each after `timeout_s`.

    `address` is host:port of process 0. Returns the open connections by process: on process 0 one
    with each of the others, on these the one with process 0.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"coordinator_address is host:port of process 0, not '{address}'.")
    if process == 0:
        return _receive(address, int(port), processes, timeout_s)
    return {0: _greet(address, host.strip("[]"), int(port), processes, process, timeout_s)}


def _listen(address: str, port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"Process 0 cannot listen on {address}: port {port} is in use, perhaps by another "
                f"run. Stop that run or give another port in coordinator_address on all hosts."
            ) from error
        raise UserError(f"Process 0 cannot listen on port {port} of {address}: {error}.") from error


def _receive(address: str, port: int, processes: int, timeout_s: float) -> dict[int, socket.socket]:
    """Process 0: gathers a greeting from each of the others, then lets all go on at once."""
    deadline = time.monotonic() + timeout_s
    arrived: dict[int, socket.socket] = {}
    strangers: dict[socket.socket, bytes] = {}  # connected, greeting not complete
    problem, absent = "", False
    with _listen(address, port) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while len(arrived) < processes - 1 and not problem:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is server:
                    client, _ = server.accept()
                    client.setblocking(False)
                    selector.register(client, selectors.EVENT_READ)
                    strangers[client] = b""
                elif sock in strangers:
                    problem = _hear(sock, strangers, arrived, processes, selector) or problem
                else:  # one that had arrived went away: it will come again or be missed
                    selector.unregister(sock)
                    arrived = {i: s for i, s in arrived.items() if s is not sock}
        missing = sorted(set(range(1, processes)) - set(arrived))
        if missing and not problem:
            absent = True
            problem = (
                f"{len(missing)} of {processes} processes did not come within {timeout_s:g} s: "
                f"process {', '.join(map(str, missing))} (process 0 waited at {address}). Check "
                f"that every host was started with the same coordinator_address and "
                f"num_processes, each with its own process_id, and can reach that address."
            )
        answer = (json.dumps({"error": problem, "absent": absent}) + "\n").encode()
        for client in [*arrived.values(), *strangers]:
            client.setblocking(True)
            with contextlib.suppress(OSError):  # gone meanwhile, as the lifeline will tell
                client.sendall(answer)
            if problem or client in strangers:
                client.close()
    if problem:
        raise _error(problem, absent)
    return arrived


def _error(problem: str, absent: bool) -> UserError:
    """Processes that did not come may come the next time; what was given wrongly stays wrong."""
    return HostGone(problem) if absent else UserError(problem)


def _hear(
    sock: socket.socket,
    strangers: dict[socket.socket, bytes],
    arrived: dict[int, socket.socket],
    processes: int,
    selector: selectors.BaseSelector,
) -> str:
    """Reads what a stranger sends; files it under `arrived` once known. Returns what is wrong."""
    try:
        chunk = sock.recv(_LINE)
    except OSError:
        chunk = b""
    said = strangers[sock] + chunk
    if chunk and b"\n" not in said and len(said) < _LINE:
        strangers[sock] = said
        return ""
    del strangers[sock]
    words = said.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] != _MAGIC or not (words[1] + words[2]).isdigit():
        selector.unregister(sock)  # a port scanner, or a process that gave up
        sock.close()
        return ""
    theirs, who = int(words[1]), int(words[2])
    problem = ""
    if theirs != processes:
        problem = (
            f"Process {who} was started with num_processes = {theirs}, process 0 with "
            f"{processes}: give the same number on all hosts."
        )
    elif who in arrived or not 0 < who < processes:
        problem = f"Two processes were started as process_id = {who}: give each its own."
    arrived[who if who not in arrived else -len(arrived)] = sock
    return problem


def _greet(
    address: str, host: str, port: int, processes: int, process: int, timeout_s: float
) -> socket.socket:
    """The others: greet process 0 and wait for its answer; returns the connection."""
    deadline = time.monotonic() + timeout_s
    grace = 5.0  # process 0's time may have begun later; it knows who is missing, so hear it out
    reason = "nothing answered"
    while time.monotonic() < deadline:
        try:
            left = max(deadline - time.monotonic(), 0.1)
            with contextlib.ExitStack() as stack:
                sock = socket.create_connection((host, port), timeout=left)
                stack.enter_context(sock)
                sock.sendall(f"{_MAGIC} {processes} {process}\n".encode())
                sock.settimeout(left + grace)
                line = _line(sock)
                if line:
                    said = json.loads(line)
                    if said["error"]:
                        raise _error(said["error"], said["absent"])
                    stack.pop_all()
                    return sock
            reason = "the connection was closed"
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
        time.sleep(min(0.2, max(deadline - time.monotonic(), 0)))
    raise HostGone(
        f"Process {process} of {processes} did not reach process 0 at {address} within "
        f"{timeout_s:g} s ({reason}). Check that process 0 was started and that this host can "
        f"reach that address."
    )


def _line(sock: socket.socket) -> bytes:
    """Reads one line, and nothing of what comes after it."""
    line = b""
    while not line.endswith(b"\n") and (byte := sock.recv(1)):
        line += byte
    return line
