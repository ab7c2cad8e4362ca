from multiprocessing.connection import Listener

from tree_privacy.cloud.service import CloudService

service = CloudService('cloud')
with Listener('cloud.socket') as listener, listener.accept() as friend:
    while request := friend.recv_bytes():
        friend.send_bytes(service.handle(request))
