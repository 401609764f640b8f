import requests
from keytether.requests import Auth

api = requests.Session()
api.auth = Auth("http://127.0.0.1:8431")
print(api.get("http://127.0.0.1:8431/reports").text)
