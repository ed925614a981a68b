#!/usr/bin/env escript
main(_) ->
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Listening} = ssl:listen(@PORT@, [binary, {ip, {127,0,0,1}}, {active, false}, {reuseaddr, true},
        {certfile, "@SERVER@"}, {keyfile, "@KEY@"}, {cacertfile, "@CA@"},
        {verify, verify_peer}, {fail_if_no_peer_cert, true}, {versions, ['tlsv1.2', 'tlsv1.3']}]),
    serve(Listening).
serve(Listening) ->
    {ok, Accepted} = ssl:transport_accept(Listening),
    spawn(fun() -> receive go -> talk(Accepted) end end) ! go,
    serve(Listening).
talk(Accepted) ->
    case ssl:handshake(Accepted, 10000) of
        {ok, Socket} ->
            case ssl:recv(Socket, 0, 10000) of
                {ok, _} ->
                    {ok, Der} = ssl:peercert(Socket),
                    Body = binary_to_list(base64:encode(crypto:hash(sha256, Der))),
                    Head = io_lib:format("HTTP/1.1 200 OK\r\nContent-Length: ~b\r\n\r\n", [length(Body)]),
                    ssl:send(Socket, [Head, Body]), ssl:close(Socket);
                _ -> ok
            end;
        _ -> ok
    end.
